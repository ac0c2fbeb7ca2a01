"""The sweeps that stand behind docs/results.md can begin."""

from pathlib import Path

import pytest

from adept_llm.cli.sweep import check_arguments, read_plan

PLANS = sorted((Path(__file__).parents[2] / "benchmarks" / "real").glob("*.yaml"))


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_all_settings_are_arguments_of_train(path):
    """A typing mistake would else show after hours, or when somebody repeats the measurement."""
    plan = read_plan(path, "runs/x", ["--model_name_or_path", "x", "--data_dir", "x"])
    check_arguments(plan)
    assert plan.grid()
