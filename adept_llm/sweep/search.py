"""How settings are tried: all, drawn, or from the middle to ever better neighbours.

A search asks for the losses of a list of settings, so that they can be computed side by side, and
is the same function of them at every start: a sweep that was stopped finds its runs again.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from adept_llm.sweep.plan import Setting, SweepPlan

Measure = Callable[[Sequence[Setting], int | None], list[float]]
"""(settings, steps) -> a number for each, of which the smallest is the best; inf for a failure."""

Axis = tuple[str, Sequence[Any]]
Point = tuple[Fraction, ...]
"""Indices into the axes' lists: between values for fractions of a step, beyond them for more."""
FINEST = Fraction(1, 4)


class Found(NamedTuple):
    """What a search came to.

    Attributes:
        setting: The best.
        tried: How many settings were.
        at_edge: Axes on which a better value may lie beyond what was tried.
    """

    setting: Setting
    tried: int
    at_edge: tuple[str, ...]


def search(plan: SweepPlan, measure: Measure) -> Found:
    """Find the best setting of a plan; where there is one alone, nothing is run for it."""
    if not plan.is_searched():
        return Found(plan.grid()[0], 1, ())
    steps = plan.rungs[0] if plan.rungs else None
    if plan.strategy == "neighbours":
        tried, at_edge = walk(plan, measure, steps)
    else:
        settings = plan.grid() if plan.strategy == "grid" else plan.drawn()
        tried, at_edge = list(zip(settings, measure(settings, steps), strict=True)), ()
    count = len(tried)
    for steps in plan.rungs[1:]:
        ranked = sorted(tried, key=lambda one: one[1])
        kept = [one for one, _ in ranked[: max(1, math.ceil(plan.keep * len(ranked)))]]
        tried = list(zip(kept, measure(kept, steps), strict=True))
    best = best_of(tried)
    if plan.strategy == "grid":
        at_edge = grid_edges(plan, best)
    return Found(best, count, at_edge)


def best_of(tried: Sequence[tuple[Setting, float]]) -> Setting:
    """The setting with the smallest number; of equals the first."""
    return min(tried, key=lambda one: one[1])[0]


def grid_edges(plan: SweepPlan, best: Setting) -> tuple[str, ...]:
    """Axes of numbers on which the best is the first or the last of several."""
    return tuple(
        name
        for name, values in plan.search.items()
        if len(values) > 1 and _fractions(values) and best[name] in (values[0], values[-1])
    )


def walk(
    plan: SweepPlan, measure: Measure, steps: int | None
) -> tuple[list[tuple[Setting, float]], tuple[str, ...]]:
    """From the middle of each axis to the best neighbour, until none is better (pattern search).

    An axis of fractions goes on beyond its list by its own ratio, so that the best is not at an
    edge where `max_settings` allows it; one of words or whole numbers ends with its list. Where no
    neighbour is better, what is left of `max_settings` goes to half steps, then to quarters: so
    methods with few rates are searched as often as those with many, only more finely.

    Returns:
        Settings with their numbers, and the axes whose next value was not tried.
    """
    tried: dict[Point, float] = {}
    axes = list(plan.search.items())
    start: Point = tuple(Fraction((len(values) - 1) // 2) for _, values in axes)
    new, step = [start, *_neighbours(start, axes, Fraction(1))], Fraction(1)
    while new := new[: plan.max_settings - len(tried)]:
        found = measure([_setting(axes, point) for point in new], steps)
        tried.update(zip(new, found, strict=True))
        best = min(tried, key=lambda point: tried[point])
        while step >= FINEST and not (new := _untried(tried, best, axes, step)):
            step /= 2
    best = min(tried, key=lambda point: tried[point])
    untried = _untried(tried, best, axes, Fraction(1))
    differs = {
        name for p in untried for (name, _), a, b in zip(axes, p, best, strict=True) if a != b
    }
    settings = [(_setting(axes, point), value) for point, value in tried.items()]
    return settings, tuple(name for name, _ in axes if name in differs)


def _untried(
    tried: Mapping[Point, float], best: Point, axes: Sequence[Axis], step: Fraction
) -> list[Point]:
    """Neighbours of the best at a step; beyond a value that was tried at a finer one, none."""
    found = []
    for point in _neighbours(best, axes, step):
        between = (_between(one, best, point) for one in tried if one != best)
        if point not in tried and (step < 1 or not any(between)):
            found.append(point)
    return found


def _between(one: Point, best: Point, point: Point) -> bool:
    """Whether a point lies on the way from the best to another."""
    return all(min(a, b) <= x <= max(a, b) for x, a, b in zip(one, best, point, strict=True))


def _neighbours(point: Point, axes: Sequence[Axis], step: Fraction) -> list[Point]:
    found = []
    for i, (_, values) in enumerate(axes):
        continues = _fractions(values) and len(values) > 1
        for index in (point[i] - step, point[i] + step):
            if continues or (step == 1 and 0 <= index < len(values)):
                found.append((*point[:i], index, *point[i + 1 :]))
    return found


def _setting(axes: Sequence[Axis], point: Point) -> Setting:
    return {name: _value(values, i) for (name, values), i in zip(axes, point, strict=True)}


def _value(values: Sequence[Any], index: Fraction) -> Any:
    """The value at an index; between two of them or beyond the list by ratio, to two digits."""
    if index.denominator == 1 and 0 <= index < len(values):
        return values[int(index)]
    low = min(max(math.floor(index), 0), len(values) - 2)
    if 0 <= index <= len(values) - 1:
        ratio = values[low + 1] / values[low]
    else:
        ratio = (values[-1] / values[0]) ** (1 / (len(values) - 1))
        low = 0 if index < 0 else len(values) - 1
    return float(f"{values[low] * ratio ** float(index - low):.2g}")


def _fractions(values: Sequence[Any]) -> bool:
    """Whether an axis can be continued: positive fractions; whole numbers are sizes, and end."""
    return all(isinstance(v, float) and v > 0 for v in values)
