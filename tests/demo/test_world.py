"""The demo's world: seeded, balanced, with clean splits and held-out words; a small model."""

import re
from itertools import islice

import pytest

from adept_llm.demo import MODEL
from adept_llm.demo.world import LABELS, SPLITS, examples, held_out_words, stories


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def test_stories_are_seeded_and_their_number_changes_none_of_them() -> None:
    assert list(stories(0, 20)) == list(islice(stories(0, 100), 20))
    assert list(stories(0, 20)) != list(stories(1, 20))


@pytest.mark.parametrize("split", SPLITS)
def test_examples_are_seeded_distinct_and_balanced(split: str) -> None:
    rows = examples(0, 200, split)
    assert rows == examples(0, 200, split)
    assert rows != examples(1, 200, split)
    assert len({row["input"] for row in rows}) == 200
    for label in LABELS.values():
        assert sum(row["output"] == label for row in rows) == 100


def test_no_example_is_in_two_splits_whatever_the_seeds() -> None:
    inputs = [
        {row["input"] for seed in range(3) for row in examples(seed, 1000, split)}
        for split in SPLITS
    ]
    assert not inputs[0] & inputs[1]
    assert not inputs[0] & inputs[2]
    assert not inputs[1] & inputs[2]


def test_held_out_words_are_in_the_stories_and_the_test_rows_only() -> None:
    tuning = {
        word
        for split in ("train", "validation")
        for row in examples(0, 2000, split)
        for word in words(row["input"])
    }
    assert not held_out_words() & tuning
    assert held_out_words() <= {word for story in stories(0, 2000) for word in words(story)}

    novel = [bool(held_out_words() & words(row["input"])) for row in examples(0, 200, "test")]
    assert novel == [False, False, True, True] * 50


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="train, validation, test"):
        examples(0, 2, "dev")


def test_the_model_is_small() -> None:
    files = {path.name: path.stat().st_size for path in MODEL.iterdir()}
    assert {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    } <= files.keys()
    assert sum(files.values()) <= 4_000_000


def test_the_task_is_made_of_words_the_tokenizer_knows() -> None:
    tokenizer = pytest.importorskip("transformers").AutoTokenizer.from_pretrained(MODEL)
    for label in LABELS.values():
        assert len(tokenizer(label, add_special_tokens=False)["input_ids"]) == 1
    for word in held_out_words():
        assert len(tokenizer(f" {word}", add_special_tokens=False)["input_ids"]) == 1
    row = examples(0, 1, "train")[0]
    prompt = tokenizer(f"{row['instruction']}\n{row['input']}\n")["input_ids"]
    assert prompt[0] == tokenizer.bos_token_id
    assert tokenizer.unk_token_id not in prompt
