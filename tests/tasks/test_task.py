"""Tasks are declared right, and rows that do not fit them are named."""

import dataclasses

import pytest

from adept_llm.data.rows import Row
from adept_llm.errors import InputError
from adept_llm.tasks.registry import TASKS, get_task, task_names
from adept_llm.tasks.splits import NATIVE
from adept_llm.tasks.task import Reference, Task

WORDS = Task(
    name="words",
    path="nobody/words",
    config=None,
    revision="0" * 40,
    splits=NATIVE,
    columns=("text", "parts", "kind"),
    instruction="Which kind?",
    layout="{text} [{parts[0]}]",
    target="kind",
    metrics=("accuracy",),
    labels={0: "noun", 1: "verb"},
)


def row(**values):
    """A row of a made-up file."""
    return Row("data/train.jsonl:7", "train.jsonl:7", values)


def test_a_row_becomes_an_example():
    """By layout and label words."""
    example = WORDS.example(row(text="run", parts=["r", "un"], kind=1, idx=3))
    assert (example.instruction, example.input, example.target) == (
        "Which kind?",
        "run [r]",
        "verb",
    )
    assert (example.labels, example.id) == (("noun", "verb"), "train.jsonl:7")


def test_a_free_text_target():
    """From a column or from a derived one."""
    free = dataclasses.replace(WORDS, labels={}, target="text")
    assert free.example(row(text="run", parts=["r"], kind=1)).target == "run"
    made = dataclasses.replace(free, target="last", derive=lambda row: {"last": row["parts"][-1]})
    assert made.example(row(text="run", parts=["r", "un"], kind=1)).target == "un"


def test_label_words_of_a_row():
    """WinoGrande's options differ from row to row."""
    task = dataclasses.replace(WORDS, labels={0: "{parts[0]}", 1: "{parts[1]}"})
    example = task.example(row(text="run", parts=["r{", "un"], kind=1))
    assert (example.labels, example.target) == (("r{", "un"), "un")


def test_context_focus_answers_and_group():
    """Where to shorten, what to keep then, what counts as right, what counts as one."""
    task = dataclasses.replace(
        WORDS,
        labels={},
        target="kind",
        layout="Text: {text}\nParts: {parts[0]}",
        context="text",
        answers="parts",
        group="{parts[1]}-{kind}",
    )
    example = task.example(row(text="a run b", parts=["x", "y"], kind="run"))
    assert example.input[slice(*example.context)] == "a run b"
    assert example.input[slice(*example.focus)] == "run"
    assert (example.answers, example.group) == (("x", "y"), "y-run")
    assert task.example(row(text="a b", parts=["x", "y"], kind="run")).focus is None


def test_the_papers_form():
    """With digits in the order of the label words, or words and columns of its own."""
    values = {"text": "run", "parts": ["r"], "kind": 1}
    with pytest.raises(InputError, match="no form for task words"):
        WORDS.example(row(**values), reference=True)
    task = dataclasses.replace(WORDS, reference=Reference("words text: {text}"))
    example = task.example(row(**values), reference=True)
    assert (example.instruction, example.input) == ("", "words text: run")
    assert (example.target, example.labels) == ("1", ("0", "1"))
    own = Reference("{text}", labels=("n", "v"))
    example = dataclasses.replace(WORDS, reference=own).example(row(**values), reference=True)
    assert example.target == "v"
    other = Reference("{text}", instead={"kind": "text", "": ""})
    free = dataclasses.replace(WORDS, labels={}, reference=other)
    assert free.example(row(**values), reference=True).target == "run"
    assert free.example(row(**values)).target == "1"


@pytest.mark.parametrize(
    "values, message",
    [
        ({"text": "run", "kind": 1}, "needs column 'parts'; columns there: text, kind"),
        ({"text": None, "parts": ["r"], "kind": 1}, "column 'text' is null"),
        ({"text": "run", "parts": ["r"], "kind": 2}, r"'kind' is 2; known: 0 \(noun\), 1 \(verb\)"),
        ({"text": "run", "parts": ["r"], "kind": -1}, "'kind' is -1; .*without a label by -1"),
        ({"text": "run", "parts": ["r"], "kind": "1"}, "'kind' is '1'"),
        ({"text": "run", "parts": ["r"], "kind": [1]}, r"'kind' is \[1\]"),
        ({"text": "run", "parts": [], "kind": 1}, "does not fit task words"),
    ],
)
def test_a_row_that_does_not_fit_is_named(values, message):
    """A silent default label would spoil the training set."""
    with pytest.raises(InputError, match=rf"data/train\.jsonl:7: .*{message}"):
        WORDS.example(row(**values))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"columns": ("text", "kind")}, "columns lacks parts"),
        ({"target": "sort"}, "columns lacks sort"),
        ({"context": "kind"}, "the layout lacks its context"),
        ({"labels": {0: "{word}", 1: "verb"}}, "columns lacks word"),
        ({"labels": {0: "noun", 1: "noun"}}, "same word"),
        ({"metrics": ()}, "metrics is empty"),
        ({"instruction": ""}, "instruction is empty"),
    ],
)
def test_a_wrong_declaration_is_refused(change, message):
    """At import, not at the first row."""
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(WORDS, **change)


def test_the_registry():
    """Names are keys, and revisions are commits."""
    assert task_names() == tuple(sorted(TASKS)) and "sst2" in task_names()
    for name, task in TASKS.items():
        assert task.name == name and get_task(name) is task
        assert len(task.revision) == 40


def test_an_unknown_task_suggests_the_closest():
    """And lists all."""
    with pytest.raises(InputError, match=r"'SST-2' \(did you mean sst2\?\); known: .*sst2"):
        get_task("SST-2")
    with pytest.raises(InputError, match=r"unknown task 'qwertyuiop'; known: "):
        get_task("qwertyuiop")
