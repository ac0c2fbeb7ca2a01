"""Runs that only pretend, for all that a sweep does around them."""

import textwrap

import pytest

from adept_llm.sweep.plan import SweepPlan
from adept_llm.sweep.runs import Run
from tests.sweep.plans import PRETEND, in_this_process, real_plan


@pytest.fixture
def pretend(yes_no_rows, tmp_path):
    """A plan of runs that only pretend."""
    like = tmp_path / "like.json"
    if not like.exists():
        run = real_plan(yes_no_rows, tmp_path / "real", rungs=[])
        in_this_process([Run.of(run, {"learning_rate": 0.1}, 0, {}, "one")])
        (found,) = (tmp_path / "real").rglob("run.json")
        like.write_text(found.read_text())
    program = tmp_path / "pretend.py"
    program.write_text(textwrap.dedent(PRETEND))

    def make(**given):
        arguments = {"like": str(like), **given.pop("arguments", {})}
        return SweepPlan(
            **{
                "output_dir": str(tmp_path / "out"), "program": str(program), "seeds": [1],
                "search": {"learning_rate": [0.03, 0.1, 0.3]}, "arguments": arguments,
            } | given
        )  # fmt: skip

    return make
