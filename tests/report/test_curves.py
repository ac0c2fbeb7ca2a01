"""Curves over seeds and steps to a level."""

import pytest

from adept_llm.report.curves import (
    POINTS,
    Curve,
    measured,
    over_seeds,
    reached,
    round_levels,
    smooth,
    thin,
)
from tests.report.written import group_of, logged, run_of


def evaluated(seed, metric="accuracy", **values):
    """A run with a metric at some steps, given as s5=0.5."""
    log = logged({}, {int(step[1:]): {metric: value} for step, value in values.items()})
    return run_of(seed=seed, log=log)


def test_the_band_is_from_the_lowest_to_the_highest_seed_as_far_as_all_go():
    found = over_seeds([{1: 1.0, 2: 2.0, 3: 9.0}, {1: 3.0, 2: 2.5}, {}])
    assert found == Curve((1, 2), (2.0, 2.25), (1.0, 2.0), (3.0, 2.5))
    assert over_seeds([{1: 1.0}, {2: 1.0}]) is None
    assert over_seeds([{}]) is None


def test_smoothing_keeps_a_straight_line_and_quietens_noise():
    """A mean over unlike reaches would bend a straight line at its ends."""
    line = {step: 100.0 - step for step in range(1, 101)}
    assert smooth(line) == pytest.approx(line)
    noise = {step: float(step % 2) for step in range(1, 101)}
    inner = [smooth(noise)[step] for step in range(10, 90)]
    assert max(inner) - min(inner) < 0.3
    assert smooth({1: 5.0}) == {1: 5.0} and smooth({}) == {}


def test_thinning_keeps_both_ends():
    steps = tuple(range(1, 1001))
    values = tuple(map(float, steps))
    found = thin(Curve(steps, values, values, values))
    assert len(found.steps) == POINTS and (found.steps[0], found.steps[-1]) == (1, 1000)
    assert found.mean == tuple(map(float, found.steps)) == found.low == found.high


def test_steps_to_a_level_are_those_of_the_first_time():
    group = group_of(
        evaluated(1, s0=0.5, s5=0.7, s10=0.6, s15=0.9),
        evaluated(2, s0=0.5, s5=0.6, s10=0.8, s15=0.8),
    )
    assert reached(group, "accuracy", 0.7).mean == 7.5  # steps 5 and 10
    assert reached(group, "accuracy", 0.5).steps == (0, 0)
    some = reached(group, "accuracy", 0.9)
    assert (some.steps, some.runs, some.mean) == ((15,), 2, None)
    assert reached(group, "f1", 0.1).runs == 0


def test_a_loss_is_reached_from_above():
    group = group_of(evaluated(1, "loss", s0=3.0, s5=1.0, s10=2.0))
    assert reached(group, "loss", 2.0).steps == (5,)
    assert round_levels([group], "loss") == []


def test_levels_are_round_and_lie_between_start_and_best():
    group = group_of(evaluated(1, s0=0.52, s5=0.78, s10=0.93))
    assert round_levels([group], "accuracy") == [0.7, 0.75, 0.8, 0.85, 0.9]
    short = group_of(evaluated(1, s0=0.52, s5=0.555))
    assert round_levels([short], "accuracy") == [0.53, 0.54, 0.55]
    assert round_levels([group_of(evaluated(1, s0=0.5, s5=0.5))], "accuracy") == []
    assert round_levels([group_of(run_of())], "accuracy") == []


def test_levels_of_a_correlation_may_begin_below_zero():
    """The longest way there is, from -1 to 1, needs the largest of the steps."""
    group = group_of(evaluated(1, s0=-1.0, s5=1.0))
    assert round_levels([group], "accuracy") == [0.2, 0.4, 0.6, 0.8, 1.0]


@pytest.mark.parametrize("ends", [(50.0, 90.0), (0.5, 3.5), (-40.0, -20.0)], ids=str)
def test_a_metric_that_is_no_share_has_no_levels(ends):
    """No step divides the way of another program's percents, which ended the report."""
    group = group_of(evaluated(1, s0=ends[0], s5=ends[1]))
    assert round_levels([group], "accuracy") == []


def test_a_single_evaluation_is_no_curve():
    assert measured(group_of(evaluated(1, s0=0.5)), "accuracy") is None
