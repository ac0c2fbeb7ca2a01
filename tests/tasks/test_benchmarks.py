"""Every benchmark task on rows in the hub's own columns; its text is held by a golden file.

After a change that is meant, `python -m tests.tasks.test_benchmarks` writes the golden files anew.
"""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from adept_llm.data import Encoder
from adept_llm.data.rows import Row
from adept_llm.data.sampling import few_shot, sample
from adept_llm.data.templates import render
from adept_llm.errors import InputError
from adept_llm.tasks import get_task, load_split, task_names
from adept_llm.tasks.splits import HELD_OUT, LARGE, SMALL, Part
from tests.tokenizers import CHATML, build_byte_level

HERE = Path(__file__).parent
FIXTURES = HERE / "fixtures"
REAL = HERE.parents[2] / "shared" / "data"
PAPERS = (
    "cola sst2 mrpc stsb qqp mnli qnli rte boolq cb multirc wic wsc.fixed record "
    "nq hotpotqa searchqa newsqa winogrande yelp_polarity scitail paws mbpp"
).split()


def written(name):
    """The first two training examples of a task in all templates, targets marked."""
    tokenizer = build_byte_level(add_bos=False, chat_template=CHATML)
    task = get_task(name)
    templates = ["plain", "alpaca", "chat"] + ["reference"] * bool(task.reference)
    lines = []
    for template in templates:
        examples = load_split(task, "train", FIXTURES / name, reference=template == "reference")
        for one in examples[:2]:
            prompt = render(template, one, tokenizer)
            context = prompt.text[slice(*prompt.context)]
            lines += [
                f"=== {template} {one.id} {one.group}".rstrip(),
                f"{prompt.text}>>>{one.target}<<<",
                f"--- context: {context!r}",
                f"--- labels: {list(one.labels)} answers: {list(one.answers)}",
            ]
    return "\n".join(lines) + "\n"


def test_all_of_the_papers_and_gsm8k():
    """23 tasks, and the two that PEFT compares its methods on."""
    assert len(PAPERS) == 23
    assert set(task_names()) == {*PAPERS, "gsm8k", "metamathqa"}


@pytest.mark.parametrize("name", task_names())
def test_the_text_is_that_of_the_golden_file(name):
    """Another wording would make every saved adapter of the task worse without a word."""
    assert written(name) == (HERE / "golden" / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", task_names())
def test_splits_share_no_row(name):
    """A row in two of them would be learnt and then measured."""
    task = get_task(name)
    ids = []
    for split in ("train", "validation", "test"):
        owner, part = task.all_splits[split]
        rows = load_split(task, split, FIXTURES / name)
        ids.append({f"{owner.name}:{part.split}:{one.id}" for one in rows})
    assert all(ids) and sum(map(len, ids)) == len(set.union(*ids))


@pytest.mark.parametrize("name", task_names())
def test_a_missing_column_is_named(name, tmp_path):
    """Whatever the task derives from it."""
    task = get_task(name)
    split = task.splits["train"].split
    (row, *_) = map(json.loads, (FIXTURES / name / f"{split}.jsonl").read_text().splitlines())
    for column in task.columns:
        values = {key: value for key, value in row.items() if key != column}
        with pytest.raises(InputError, match=f"f:1: task {name} needs column '{column}'; columns"):
            task.example(Row("f:1", "f:1", values))


# STS-B's labels are computed: see test_sts_b_snaps
@pytest.mark.parametrize("name", [n for n in task_names() if get_task(n).labels and n != "stsb"])
def test_an_unknown_label_is_named(name):
    """A default label would spoil the training set."""
    task = get_task(name)
    split = task.splits["train"].split
    (row, *_) = map(json.loads, (FIXTURES / name / f"{split}.jsonl").read_text().splitlines())
    with pytest.raises(InputError, match=f"f:1: column '{task.target}' is -1; known: "):
        task.example(Row("f:1", "f:1", row | {task.target: -1}))


@pytest.mark.parametrize(
    "value, word",
    [(0.0, "0.0"), (0.1, "0.0"), (2.75, "2.8"), (3.25, "3.2"), (4.333, "4.4"), (5.0, "5.0")],
)
def test_sts_b_snaps(value, word):
    """To steps of 0.2; the papers' code writes 3.25 as '3.2' but 4.333 as '4.3', no label."""
    row = {"sentence1": "a", "sentence2": "b", "label": value}
    for reference in (False, True):
        example = get_task("stsb").example(Row("f:1", "f:1", row), reference)
        assert example.target == word and word in example.labels and len(example.labels) == 26
        assert example.answers == (str(value),)


def test_sts_b_refuses_a_score_that_is_none():
    """Out of range or no number."""
    for value in (5.3, -1.0, "high"):
        with pytest.raises(InputError, match="f:1: does not fit task stsb"):
            row = {"sentence1": "a", "sentence2": "b", "label": value}
            get_task("stsb").example(Row("f:1", "f:1", row))


def test_winogrande_uses_both_options():
    """The papers' code writes the first one twice."""
    (example, *_) = load_split(get_task("winogrande"), "test", FIXTURES / "winogrande")
    assert example.labels == ("cake", "box") and example.target == "cake"
    (example, *_) = load_split(
        get_task("winogrande"), "test", FIXTURES / "winogrande", reference=True
    )
    assert "option0: cake option1: box" in example.input and example.labels == ("0", "1")


def test_question_answering_keeps_all_answers():
    """Of which the best counts; the first is learnt."""
    (example, *_) = load_split(get_task("newsqa"), "test", FIXTURES / "newsqa")
    assert example.answers == ("bread, cake and tea", "bread")
    assert example.target == "bread, cake and tea"
    assert example.input[slice(*example.focus)] == example.target


@pytest.mark.parametrize(
    "text, one, other, marked",
    [
        ("Ann met Eve.", (0, "Ann"), (2, "Eve"), "* Ann * met # Eve #."),
        ("Yes, the cat saw it.", (1, "The cat"), (4, "it"), "Yes, * the cat * saw # it #."),
        ("It hid, the cat.", (2, "the cat"), (0, "It"), "# It # hid, * the cat *."),
    ],
)  # fmt: skip
def test_wsc_marks(text, one, other, marked):
    """By place, whichever comes first, and with punctuation outside."""
    row = {
        "text": text, "span1_index": one[0], "span1_text": one[1],
        "span2_index": other[0], "span2_text": other[1], "label": 1,
    }  # fmt: skip
    assert get_task("wsc.fixed").example(Row("f:1", "f:1", row)).input == marked


def test_wsc_refuses_a_place_that_is_none():
    """Marks around nothing would be a riddle."""
    row = {
        "text": "Ann met Eve.", "span1_index": 0, "span1_text": "Ann",
        "span2_index": 3, "span2_text": "she", "label": 1,
    }  # fmt: skip
    with pytest.raises(InputError, match="f:1: .*there is no word 3 for 'she'"):
        get_task("wsc.fixed").example(Row("f:1", "f:1", row))


def test_t5_pads_punctuation_but_no_accents():
    """As its regular expression says: letters, marks, numbers and '_' stay together."""
    row = {"context": "a_b (c-d)  e\u0301, 3½!", "question": "who's?", "answers": ["c-d", "3½"]}
    example = get_task("nq").example(Row("f:1", "f:1", row), reference=True)
    assert example.input == "nq question: who ' s ? context: a_b ( c - d ) e\u0301 , 3½ !"
    assert (example.target, example.answers) == ("c - d", ("c - d", "3½"))
    assert example.input[slice(*example.focus)] == "c - d"


def test_wsc_names_its_words():
    """Where marks alone must tell, a model that knows none of them is lost."""
    row = {
        "text": "Ann met Eve.", "span1_index": 0, "span1_text": "Ann",
        "span2_index": 2, "span2_text": "Eve", "label": 1,
    }  # fmt: skip
    example = get_task("wsc.fixed").example(Row("f:1", "f:1", row))
    assert "Ann" in example.instruction and "Eve" in example.instruction


@pytest.mark.parametrize(
    "name, context",
    [
        ("hotpotqa", "[PAR] [TLE] Rome [SEP] It is old. It is big. [PAR] [TLE] Oslo [SEP] Cold."),
        ("searchqa", "[DOC] [TLE] Rome [PAR] It is old. It is big. [DOC] [TLE] Oslo [PAR] Cold."),
    ],
)
def test_marks_of_documents_become_lines(name, context):
    """'[PAR] [TLE]' is no text; the papers' form keeps them, padded as T5 has it."""
    row = Row("f:1", "f:1", {"context": context, "question": "Where?", "answers": ["Oslo"]})
    example = get_task(name).example(row)
    text = "Rome: It is old. It is big.\nOslo: Cold."
    assert example.input == f"Text: {text}\nQuestion: Where?"
    assert example.input[slice(*example.context)] == text
    assert example.input[slice(*example.focus)] == "Oslo"
    reference = get_task(name).example(row, reference=True)
    assert "[ TLE ] Rome" in reference.input[slice(*reference.context)]


def test_multirc_is_halved_by_questions_and_by_rows_in_the_papers_form(tmp_path):
    """A question with answers in both halves is measured on what chose the checkpoint."""
    rows = [
        {
            "paragraph": "p", "question": f"q{q}", "answer": f"a{a}", "label": a % 2,
            "idx": {"paragraph": q // 4, "question": q, "answer": 5 * q + a},
        }
        for q in range(40)
        for a in range(5)
    ]  # fmt: skip
    (tmp_path / "validation.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = get_task("multirc")
    one, other = (load_split(task, split, tmp_path) for split in ("validation", "test"))
    assert len(one) + len(other) == 200 and abs(len(one) - len(other)) <= 5
    assert not {e.group for e in one} & {e.group for e in other}
    by_row = load_split(task, "validation", tmp_path, reference=True)
    expected = [f"validation.jsonl:{n + 1}" for n in SMALL["validation"].indices(200)]
    assert [e.id for e in by_row] == expected
    rows[3]["idx"] = 7
    (tmp_path / "validation.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match="validation.jsonl:4: names no "):
        load_split(task, "validation", tmp_path)


@pytest.mark.parametrize("name", task_names())
def test_default_lengths_are_powers_of_two(name):
    assert get_task(name).max_length in (64, 128, 256, 512, 1024, 2048)


@pytest.mark.parametrize("name", sorted(path.name for path in REAL.glob("*")))
def test_default_lengths_keep_their_rule(name):
    """95 % of the rows whole, where a context may be cut; else all of them, none dropped."""
    from transformers import AutoTokenizer

    task = get_task(name)
    tokenizer = AutoTokenizer.from_pretrained(REAL.parent / "models" / "plainwords-7m")
    encoded, _ = Encoder(tokenizer, "plain", 10**6).encode_all(
        load_split(task, "train", REAL / name)
    )
    lengths = sorted(len(one.prompt_ids) + len(one.target_ids) for one in encoded)
    needed = lengths[int(0.95 * len(lengths))] if task.context else lengths[-1]
    assert needed <= task.max_length < 2 * max(needed, 32)


@pytest.mark.parametrize("name", task_names())
def test_instructions_name_no_digit_label(name):
    """A decoder knows words; digits are for the reference form."""
    words = get_task(name).labels.values()
    assert name == "stsb" or all(re.search("[a-z]", word) for word in words)


@pytest.mark.parametrize("name", task_names())
def test_revisions_are_commits(name):
    """A branch could change between two runs of one table."""
    assert re.fullmatch("[0-9a-f]{40}", get_task(name).revision)


def test_halves_are_those_of_the_papers_code():
    """torch.randperm with seed 42: the first half validates."""
    import torch

    order = torch.randperm(277, generator=torch.Generator().manual_seed(42)).tolist()
    assert set(SMALL["validation"].indices(277)) == set(order[:138])
    assert set(SMALL["test"].indices(277)) == set(order[138:])
    order = torch.randperm(67349, generator=torch.Generator().manual_seed(42)).tolist()
    assert set(LARGE["validation"].indices(67349)) == set(order[:HELD_OUT])
    assert LARGE["train"].indices(67349) == sorted(order[HELD_OUT:])
    assert Part("train").indices(3) == [0, 1, 2]


def test_peft_validates_on_50_rows_of_the_train_split():
    """Those that its own two lines draw of GSM8K's 7,473."""
    import numpy as np

    np.random.seed(0)
    indices = np.arange(7473)
    np.random.shuffle(indices)
    owner, part = get_task("metamathqa").all_splits["validation"]
    assert part.indices(7473) == sorted(indices[:50].tolist())
    assert (owner.path, part.split) == ("openai/gsm8k", "train")
    assert part.indices(7) == list(range(7))


def test_metamathqa_is_measured_on_gsm8k():
    """Its rows up to 1,300 characters; GSM8K's lie in a folder of their own."""
    task, folder = get_task("metamathqa"), FIXTURES / "metamathqa"
    edge = {"query": "q" * 1000, "response": "r" * 299}
    assert task.keep(edge) and not task.keep({**edge, "response": "r" * 300})
    (one, *_) = load_split(task, "test", folder, reference=True)
    assert one.input.startswith("Question: Eve reads 9 pages on each")
    assert one.input.endswith(" Think step by step.\nAnswer:") and one.gap == ""
    with pytest.raises(
        InputError, match="no labelled 'dev' split; it has: validation, test, train"
    ):
        load_split(task, "dev", folder)


def test_few_shot_is_balanced_and_seeded():
    """K examples in all, K / classes of each class; the odd ones from any."""
    rows = load_split(get_task("sst2"), "train", FIXTURES / "sst2") * 3
    rows = [dataclasses.replace(one, id=str(n)) for n, one in enumerate(rows)]
    for shots in (1, 4, 5, 7):
        drawn = few_shot(rows, shots, seed=1)
        assert len(drawn) == len({one.id for one in drawn}) == shots
        counts = [sum(one.target == word for one in drawn) for word in rows[0].labels]
        assert min(counts) >= shots // 2
        assert drawn == few_shot(rows, shots, seed=1)
    draws = {tuple(one.id for one in few_shot(rows, 4, seed)) for seed in range(5)}
    assert len(draws) > 1
    with pytest.raises(InputError, match="the rows have 0 of 'negative'; lower"):
        few_shot([one for one in rows if one.target == "positive"], 6, 0)
    assert len(few_shot(load_split(get_task("nq"), "train", FIXTURES / "nq"), 3, 0)) == 3


def test_few_shot_of_many_classes_covers_the_scale():
    """STS-B has more scores than shots: low and high ones must both be there."""
    (one, *_) = load_split(get_task("stsb"), "train", FIXTURES / "stsb")
    rows = [dataclasses.replace(one, target=word) for word in one.labels]
    drawn = few_shot(rows, 2, seed=0)
    assert sorted(float(each.target) < 2.5 for each in drawn) == [False, True]


def test_sampling():
    """All rows, or a seeded choice in their order."""
    assert list(sample(3, None, 0)) == list(sample(3, 9, 0)) == [0, 1, 2]
    assert sample(99, 5, 0) == sorted(sample(99, 5, 0)) != sample(99, 5, 1)


@pytest.mark.parametrize("name", sorted(path.name for path in REAL.glob("*")))
def test_real_rows_fit(name):
    """All that is on this machine."""
    for split in ("train", "validation", "test"):
        for reference in (False, True):
            task = get_task(name)
            if task.reference or not reference:
                assert load_split(task, split, REAL / name, reference=reference)


if __name__ == "__main__":
    (HERE / "golden").mkdir(exist_ok=True)
    for each in task_names():
        (HERE / "golden" / f"{each}.txt").write_text(written(each))
