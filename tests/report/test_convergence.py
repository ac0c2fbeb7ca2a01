"""The rule of convergence, on logs whose answer is plain."""

import pytest

from adept_llm.report.convergence import SHARE, converged, end_loss
from tests.report.written import GRADUAL, logged, run_of

FALLING = {step: 10.0 - 0.4 * step for step in range(1, 21)}  # the quarters differ by a third
FLAT = {step: 1.0 for step in range(1, 21)}


def losses(*values):
    """Validation losses at steps 0, 5, 10, .."""
    return {5 * i: {"loss": value} for i, value in enumerate(values)}


@pytest.mark.parametrize(
    ("training", "validation", "expected"),
    [
        (FALLING, losses(3, 2, 1, 1.5), True),  # the best lies behind
        (FALLING, losses(3, 2, 1.5, 1), False),  # the last is the best, and training still falls
        (FLAT, losses(3, 2, 1.5, 1), True),  # training is flat
        (FALLING, losses(1, 2), True),  # worse than untrained: more steps are no help
        (FALLING, {}, False),
        (FLAT, {}, True),
        ({}, losses(3, 2), False),
        ({}, losses(3), None),  # too little to tell
        ({1: 1.0, 2: 1.0}, {}, None),
        ({}, {}, None),
    ],
)
def test_the_rule(training, validation, expected):
    assert converged(run_of(log=logged(training, validation))) is expected


@pytest.mark.parametrize(("factor", "expected"), [(0.9, True), (1.1, False)])
def test_the_share_is_where_the_rule_turns(factor, expected):
    """Eight losses: the third quarter's mean is 1, the last one's off by a little less, or more."""
    change = factor * SHARE
    for sign in (-1, 1):
        values = [5, 5, 5, 5, 0.9, 1.1, 1 + sign * change, 1 + sign * change]
        log = logged(dict(enumerate(values, 1)), {})
        assert converged(run_of(log=log)) is expected


def test_the_end_is_the_mean_of_the_last_tenth():
    assert end_loss(run_of(log=logged(FALLING, {}))) == pytest.approx((2.4 + 2.0) / 2)
    assert end_loss(run_of(log=logged({1: 3.0, 2: 1.0}, {}))) == 1.0
    assert end_loss(run_of()) is None
    assert end_loss(run_of(log=logged(GRADUAL, {}))) < GRADUAL[18]
