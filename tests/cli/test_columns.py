"""Tables: plain where a program reads them, drawn where a person does."""

import re

import pytest

from adept_llm.cli.columns import format_columns

ROWS = [["adept", "0.5"], ["[bold]x[/]", "12"]]


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "60")


def test_a_pipe_gets_plain_text():
    assert format_columns(["method", "value"], ROWS).splitlines() == [
        "method      value",
        "-----------------",
        "adept         0.5",
        "[bold]x[/]     12",
    ]


def test_a_terminal_gets_the_same_cells(terminal):
    text = format_columns(["method", "value"], ROWS)
    bare = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert bare != text and "─" in bare
    words = [line.split() for line in bare.splitlines() if "─" not in line]
    assert words == [["method", "value"], ["adept", "0.5"], ["[bold]x[/]", "12"]]


def test_a_narrow_terminal_loses_nothing(terminal):
    drawn = re.sub(r"\x1b\[[0-9;]*m", "", format_columns(["n", "v"], [["a" * 100, "12"]]))
    assert drawn.count("a") == 100 and "12" in drawn
    assert max(map(len, drawn.splitlines())) <= 60
