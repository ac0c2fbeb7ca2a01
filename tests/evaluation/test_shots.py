"""Solved rows in front of texts: which, how they are joined, and where."""

from pathlib import Path

import pytest

from adept_llm.base.loading import load_tokenizer
from adept_llm.data import Encoder, Example
from adept_llm.demo import MODEL
from adept_llm.errors import InputError
from adept_llm.evaluation.answers import AnswerMeasure
from adept_llm.evaluation.shots import behind, shot_ids
from adept_llm.tasks import get_task, load_split

SST2 = Path(__file__).parents[1] / "tasks" / "fixtures" / "sst2"


def encoder_of(max_length):
    return Encoder(load_tokenizer(str(MODEL)), "plain", max_length)


def sst2_rows():
    return load_split(get_task("sst2"), "train", SST2)


def test_shots_are_solved_rows_that_take_turns_by_class():
    """Balanced, behind each other, and in front of every text; a BOS begins the whole alone."""
    encoder, rows = encoder_of(200), sst2_rows()
    tokenizer = encoder.tokenizer
    shots = shot_ids(encoder, rows, 4, seed=0)
    *solved, nothing = tokenizer.decode(shots, skip_special_tokens=True).split("\n\n")
    known = {
        tokenizer.decode(each.prompt_ids + each.target_ids[:-1], skip_special_tokens=True): one
        for one in rows
        if (each := encoder.encode(one))
    }
    assert nothing == "" and len(set(solved)) == 4
    classes = [known[text].target for text in solved]
    assert len(set(classes[:2])) == len(set(classes[2:])) == 2
    measure = AnswerMeasure.of(encoder, rows[:3])
    for (before,), (after,) in zip(measure.windows, behind(measure, shots).windows, strict=True):
        assert after.prompt_ids == shots + before.prompt_ids[1:]
        assert [n for n, i in enumerate(after.prompt_ids) if i == tokenizer.bos_token_id] == [0]


def test_shots_are_rows_that_fit():
    """A row that is too long to be encoded leaves its place to the next."""
    rows = [Example("", "good film " * n, "yes", str(n), ("no", "yes")) for n in (1, 9, 2, 8)]
    shots = shot_ids(encoder_of(30), rows, 4, seed=0)
    texts = encoder_of(30).tokenizer.decode(shots, skip_special_tokens=True).split("\n\n")
    assert sorted(text.count("good") for text in texts) == [0, 1, 2]
    with pytest.raises(InputError, match="shots: no training row fits max_length; raise it"):
        shot_ids(encoder_of(5), rows, 4, seed=0)
