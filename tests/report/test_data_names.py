"""Names of own data: a wrong one puts methods that learnt different rows into one column."""

import pytest

from adept_llm.report.data_names import data_names
from adept_llm.report.groups import Comparison
from adept_llm.report.results import results
from tests.report.written import content_of, run_of


def own(file, fingerprint=None, sample=None, **given):
    """A run on a file of one's own."""
    data = {"task": None, "k_shot": None, "train_file": file, "max_train_samples": sample}
    return run_of(
        arguments=content_of(seed=given.get("seed", 1))["arguments"] | {"data": data},
        data={"train_fingerprint": fingerprint},
        **given,
    )


def test_files_of_one_stem_are_two_columns_and_no_result_is_lost():
    """One would be taken for the other's search, and a method would seem to win on other rows."""
    runs = [
        own("/data/reviews/train.jsonl", "aaa", after={"accuracy": 0.9, "loss": 0.2}),
        own("/data/news/train.jsonl", "bbb", after={"accuracy": 0.6, "loss": 0.7}),
        own("/data/news/train.jsonl", "bbb", method="dept", after={"accuracy": 0.5, "loss": 0.9}),
    ]
    found = Comparison.of(runs)
    assert [setting.task for setting in found.settings] == ["reviews/train", "news/train"]
    cells = results(found).cells
    assert sorted(cell.spread.mean for cell in cells.values()) == [0.5, 0.6, 0.9]
    assert not any(choice.search for choice in found.choices.values())


def test_equal_rows_are_one_column_however_the_path_is_written():
    """A run on another machine, or from another folder, would have a column of its own."""
    paths = ["/data/mine.jsonl", "mine.jsonl", "/home/me/copy.jsonl"]
    assert data_names([own(path, "aaa") for path in paths]) == ["mine"] * 3
    assert data_names([own("a/x.jsonl"), own("a/./x.jsonl")]) == ["x", "x"]


def test_samples_of_a_file_stand_beside_the_whole_of_it():
    """Their fingerprints differ by seed: each seed would be a column."""
    samples = [own("a/x.jsonl", f"s{seed}", sample=8, seed=seed) for seed in (1, 2)]
    assert data_names(samples) == ["x", "x"]
    assert data_names([*samples, own("a/x.jsonl", "whole"), own("b/x.jsonl", "other")]) == [
        *["a/x"] * 3, "b/x",
    ]  # fmt: skip


def test_a_file_that_was_changed_between_runs_is_two():
    names = data_names([own("a/x.jsonl", "aaa"), own("a/x.jsonl", "bbb"), own("a/x.jsonl")])
    assert names == ["x (aaa)", "x (bbb)", "x (a/x.jsonl)"]


@pytest.mark.parametrize(
    ("file", "name"), [("/data/mine/sst2.jsonl", "mine/sst2"), ("sst2.jsonl", "sst2.jsonl")]
)
def test_a_file_called_as_a_task_is_not_the_task(file, name):
    """It would share the task's column, its metric and its published numbers."""
    mine = own(file, "aaa", after={"loss": 0.5, "exact_match": 0.1, "accuracy": 0.2})
    found = Comparison.of([mine, run_of(task="sst2")])
    assert {setting.task: metric for setting, metric in found.settings.items()} == {
        name: "exact_match", "sst2": "accuracy",
    }  # fmt: skip


def test_tasks_keep_their_names_and_shots():
    few = content_of()["arguments"] | {"data": {"task": "rte", "k_shot": 16}}
    assert data_names([run_of(task="rte"), run_of(arguments=few), run_of(arguments={})]) == [
        "rte", "rte, 16 shots", "(not named)",
    ]  # fmt: skip
