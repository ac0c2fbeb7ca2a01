"""A test's lines in two parts: what the program is asked, and what its answers must hold in."""

import pytest

from adept_llm.errors import InputError
from adept_llm.evaluation.programs.split import split_tests

V = "value_{}_of_program"


@pytest.mark.parametrize(
    "lines, asked, judged",
    [
        (["assert f(3) == [1, 2]"], ["f(3)"], "assert {0} == [1, 2]"),
        (["assert set(f(3)) == set([1, 2]), 'no'"], ["f(3)"], "assert set({0}) == set([1, 2])"),
        (
            ["assert math.isclose(f(2), 0.5)"],
            ["f(2)"],
            "import math\nassert math.isclose({0}, 0.5)",
        ),
        (["assert f(g(1)) == g(f(2))"], ["f(g(1))", "g(f(2))"], "assert {0} == {1}"),
        (["assert sum(10, 15) == 6"], ["sum(10, 15)"], "assert {0} == 6"),
        (["assert int(f(5)) == max(3, 5)"], ["f(5)"], "assert int({0}) == max(3, 5)"),
        (["assert all(x > 0 for x in f(3))"], ["f(3)"], "assert all((x > 0 for x in {0}))"),
        (["assert f(3).startswith('ab')"], ["f(3)"], "assert {0}.startswith('ab')"),
        (["assert f(3)[0] == 'a'"], ["f(3)"], "assert {0}[0] == 'a'"),
        (["assert Stack().pop() == 3"], ["Stack().pop()"], "assert {0} == 3"),
        (["assert not f(2) and f(1)"], ["f(2)", "f(1)"], "assert not {0} and {1}"),
    ],
)
def test_what_is_called_is_the_programs_and_the_rest_is_judged(lines, asked, judged):
    """Numbers on the other side of an equation must not reach the program."""
    split = split_tests(lines)
    assert [source for kind, source in split.steps if kind == "value"] == asked
    assert split.judged == judged.format(*split.names)
    assert split.names == tuple(map(V.format, range(len(asked))))


@pytest.mark.parametrize(
    "lines, steps, judged",
    [
        # built with the program's own class
        (
            ["root = Node(1)\r\nroot.left = Node(2)", "assert depth(root) == 2"],
            [("run", "root = Node(1)"), ("run", "root.left = Node(2)"), ("value", "depth(root)")],
            "assert {0} == 2",
        ),
        # only the judge needs it
        (
            [
                "expected = [1]",
                "for i in range(2):\n    expected.append(i)",
                "assert f(1) == expected",
            ],
            [("value", "f(1)")],
            "expected = [1]\nfor i in range(2):\n    expected.append(i)\nassert {0} == expected",
        ),
        # both need it
        (
            ["x = [1]", "y = x + x", "assert f(x) == y"],
            [("run", "x = [1]"), ("value", "f(x)")],
            "x = [1]\ny = x + x\nassert {0} == y",
        ),
        # changed by the program
        (
            ["x = [3, 1]", "sort(x)", "assert x == [1, 3]"],
            [("run", "x = [3, 1]"), ("run", "sort(x)"), ("value", "x")],
            "x = [3, 1]\nassert {0} == [1, 3]",
        ),
        (["r = f(3)", "assert r == 4"], [("run", "r = f(3)"), ("value", "r")], "assert {0} == 4"),
        (
            ["import math", "assert f(math.pi) == math.pi"],
            [("run", "import math"), ("value", "f(math.pi)")],
            "import math\nassert {0} == math.pi",
        ),
        (
            ["n = 1", "n += f(n)", "assert n == 4"],
            [("run", "n = 1"), ("run", "n += f(n)"), ("value", "n")],
            "n = 1\nassert {0} == 4",
        ),
    ],
)
def test_other_lines_go_to_whom_they_concern(lines, steps, judged):
    """What was once in the program's hands is its own; the rest stays the judge's."""
    split = split_tests(lines)
    assert list(split.steps) == steps
    assert split.judged == judged.format(*split.names)


@pytest.mark.parametrize(
    "line",
    [
        "for i in range(3):\n    assert f(i) == i",
        "def check(g):\n    assert g(1) == 2",
        "assert all(f(x) == x for x in range(3))",
        "assert (lambda x: f(x))(1) == 2",
        "assert f(1) ==",
    ],
)
def test_tests_that_cannot_be_split_are_refused(line):
    """Counted as failed they would make a metric wrong in silence."""
    with pytest.raises(InputError, match="tests of a program"):
        split_tests([line])
