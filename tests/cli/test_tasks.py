"""adept-llm tasks: the list, and examples as a model reads them."""

from pathlib import Path

import pytest

from adept_llm.cli.main import main
from adept_llm.errors import InputError
from adept_llm.tasks import task_names
from adept_llm.training.arguments import DataArguments

FIXTURES = Path(__file__).parents[1] / "tasks" / "fixtures"


def shown(capsys, *argv):
    assert main(["tasks", *map(str, argv)]) == 0
    return capsys.readouterr().out


def test_the_list(capsys):
    out = shown(capsys)
    header, _, *rows = out.splitlines()
    assert header.split() == ["task", "source", "train", "validation", "test", "metrics", "labels"]
    assert [row.split()[0] for row in rows] == list(task_names())
    (line,) = (row for row in rows if row.startswith("sst2 "))
    for part in (
        "nyu-mll/glue/sst2@bcdcba7",
        "train (held out)",
        "accuracy",
        "negative / positive",
    ):
        assert part in line


@pytest.mark.parametrize("name", task_names())
def test_examples_of_every_task(capsys, name):
    out = shown(capsys, name, "--show", 2, "--data_dir", FIXTURES / name, "--max_length", 400)
    assert out.count("== train.jsonl:") == 2 and out.count(">>>") == 2
    assert "Answer:>>>" in out and "after truncation" in out


def test_lengths_before_and_after_truncation(capsys):
    out = shown(capsys, "boolq", "--data_dir", FIXTURES / "boolq", "--max_length", 60)
    line = out.splitlines()[0]
    before, after = (int(word) for word in line.split() if word.isdigit())
    assert before > after and after <= 60
    assert ">>> " in out and "Question: " in out
    out = shown(capsys, "boolq", "--data_dir", FIXTURES / "boolq", "--max_length", 9)
    assert "do not fit max_length 9" in out and "dropped" in out


@pytest.mark.parametrize(
    "argv, message",
    [
        (["sst3"], "did you mean sst2"),
        (["sst2", "--show", "0"], "show: 0 examples"),
        (["sst2", "--split", "dev", "--data_dir", FIXTURES / "sst2"], "no labelled 'dev' split"),
        (["mbpp", "--template", "reference", "--data_dir", FIXTURES / "mbpp"], "no form for"),
        (["sst2", "--data_dir", FIXTURES / "cola2"], "there is no such folder"),
        (["rte", "--data_dir", FIXTURES / "sst2"], "needs column 'sentence1'; columns there"),
        (
            ["sst2", "--template", "vicuna", "--data_dir", FIXTURES / "sst2"],
            "--template: invalid choice",
        ),
    ],
)
def test_bad_requests_are_one_line(capsys, argv, message):
    assert main(["tasks", *map(str, argv)]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: ") and err.count("\n") == 1 and message in err and not out


def test_the_tasks_own_length_is_the_default():
    """GSM8K does not fit what is enough for one's own short texts."""
    assert DataArguments(task="gsm8k").max_length == 512
    assert DataArguments(task="gsm8k", max_length=99).max_length == 99
    assert DataArguments(train_file="x.jsonl").max_length == 256
    with pytest.raises(InputError, match="unknown task 'gsm9k'"):
        DataArguments(task="gsm9k")
