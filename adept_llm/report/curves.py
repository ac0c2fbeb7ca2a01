"""Curves by step over the seeds of a group, and the steps that a metric takes to reach a level."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adept_llm.report.groups import LOSS, Group

POINTS = 80  # of a drawn curve
SMOOTHED = 20  # a mean over so large a part of the log: 1/20
LEVELS = 5


@dataclass(frozen=True)
class Curve:
    """A number by step: its mean over the seeds, and the band from the smallest to the largest."""

    steps: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def over_seeds(series: Sequence[Mapping[int, float]]) -> Curve | None:
    """A curve of the steps that all seeds have; None where there are none.

    Runs that stopped early end the curve: a mean over fewer seeds would jump there.
    """
    known = [one for one in series if one]
    steps = sorted(set.intersection(*(set(one) for one in known))) if known else []
    if not steps:
        return None
    columns = [[one[step] for one in known] for step in steps]
    return Curve(
        tuple(steps),
        tuple(map(statistics.fmean, columns)),
        tuple(map(min, columns)),
        tuple(map(max, columns)),
    )


def smooth(losses: Mapping[int, float]) -> dict[int, float]:
    """A moving mean over a twentieth of the log around each step, smaller at both ends."""
    steps = sorted(losses)
    half = len(steps) // SMOOTHED // 2
    values = [losses[step] for step in steps]
    return {
        step: statistics.fmean(values[i - reach : i + reach + 1])
        for i, step in enumerate(steps)
        # the same reach to both sides, or the ends would lean inwards
        for reach in [min(half, i, len(steps) - 1 - i)]
    }


def thin(curve: Curve) -> Curve:
    """The same with `POINTS` points at most, the first and the last among them."""
    count = len(curve.steps)
    if count <= POINTS:
        return curve
    kept = [round(i * (count - 1) / (POINTS - 1)) for i in range(POINTS)]
    parts = (curve.steps, curve.mean, curve.low, curve.high)
    steps, mean, low, high = ([part[i] for i in kept] for part in parts)
    return Curve(tuple(map(int, steps)), tuple(mean), tuple(low), tuple(high))


def training_loss(group: Group) -> Curve | None:
    """Smoothed for each seed, then over the seeds."""
    curve = over_seeds([smooth(run.logged(LOSS)) for run in group.runs])
    return thin(curve) if curve else None


def measured(group: Group, metric: str) -> Curve | None:
    """A metric on the validation split, or the loss there."""
    curve = over_seeds([run.measured(metric) for run in group.runs])
    return thin(curve) if curve and len(curve.steps) > 1 else None


@dataclass(frozen=True)
class Reached:
    """When the runs of a group came to a level.

    Attributes:
        steps: Of each run that did, the step of the first evaluation at which it had.
        runs: Number of runs that were measured on the way.
    """

    steps: tuple[int, ...]
    runs: int

    @property
    def mean(self) -> float | None:
        """Mean step; None unless all runs came there: a mean of the quick ones would mislead."""
        whole = self.runs and len(self.steps) == self.runs
        return statistics.fmean(self.steps) if whole else None


def reached(group: Group, metric: str, level: float) -> Reached:
    """When a metric was first at least as high as a level, or the loss at most as high."""
    logs = [log for run in group.runs if (log := run.measured(metric))]
    sign = -1 if metric == LOSS else 1
    first = (
        next((step for step in sorted(log) if sign * log[step] >= sign * level), None)
        for log in logs
    )
    return Reached(tuple(step for step in first if step is not None), len(logs))


def round_levels(groups: Sequence[Group], metric: str) -> list[float]:
    """At most `LEVELS` round levels from where the best group begins up to its best mean.

    They are the highest multiples of the smallest of 0.01, 0.02, 0.05, 0.1, .. that divides the way
    into no more than twice as many parts.
    Of the loss there are none: how low is low has no round answer. Nor are there any of a metric
    that is neither a share nor a correlation, such as one in percent.
    """
    curves = [curve for group in groups if (curve := measured(group, metric))]
    if not curves or metric == LOSS:
        return []
    bottom = min(curve.mean[0] for curve in curves)
    top = max(max(curve.mean) for curve in curves)
    if not -1 <= bottom < top <= 1:
        return []
    step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2) if (top - bottom) / s <= 2 * LEVELS)
    last = math.floor(top / step + 1e-9)
    levels = (round((last - i) * step, 2) for i in range(LEVELS))
    return sorted(level for level in levels if level > bottom)
