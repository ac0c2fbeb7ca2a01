"""How settings are tried: all, drawn, or from the middle to ever better neighbours.

A search asks for the losses of a list of settings, so that they can be computed side by side, and
is the same function of them at every start: a sweep that was stopped finds its runs again.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from adept_llm.sweep.plan import Setting, SweepPlan

Measure = Callable[[Sequence[Setting], int | None], list[float]]
"""(settings, steps) -> a number for each, of which the smallest is the best; inf for a failure."""


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
    if plan.strategy != "random" and len(plan.grid()) == 1:
        return Found(plan.grid()[0], 1, ())
    steps = plan.rungs[0] if plan.rungs else None
    if plan.strategy == "neighbours":
        tried, at_edge = walk(plan, measure, steps)
    else:
        settings = plan.grid() if plan.strategy == "grid" else plan.drawn()
        tried = list(zip(settings, measure(settings, steps), strict=True))
        at_edge = grid_edges(plan, best_of(tried)) if plan.strategy == "grid" else ()
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
        if len(values) > 1 and _numbers(values) and best[name] in (values[0], values[-1])
    )


def walk(
    plan: SweepPlan, measure: Measure, steps: int | None
) -> tuple[list[tuple[Setting, float]], tuple[str, ...]]:
    """From the middle of each axis to the best neighbour, until none is better (pattern search).

    An axis of numbers goes on beyond its list by its own ratio, so that the best is not at an edge
    where `max_settings` allows it; one of words ends with its list.

    Returns:
        Settings with their numbers, and the axes whose next value was not tried.
    """
    tried: dict[tuple[int, ...], float] = {}
    axes = list(plan.search.items())
    new = [tuple((len(values) - 1) // 2 for _, values in axes)]
    new += _neighbours(new[0], axes)
    while new := new[: plan.max_settings - len(tried)]:
        found = measure([_setting(axes, point) for point in new], steps)
        tried.update(zip(new, found, strict=True))
        best = min(tried, key=lambda point: tried[point])
        new = [point for point in _neighbours(best, axes) if point not in tried]
    best = min(tried, key=lambda point: tried[point])
    untried = [p for p in _neighbours(best, axes) if p not in tried]
    differs = {
        name for p in untried for (name, _), a, b in zip(axes, p, best, strict=True) if a != b
    }
    settings = [(_setting(axes, point), value) for point, value in tried.items()]
    return settings, tuple(name for name, _ in axes if name in differs)


def _neighbours(
    point: tuple[int, ...], axes: Sequence[tuple[str, Sequence[Any]]]
) -> list[tuple[int, ...]]:
    found = []
    for i, (_, values) in enumerate(axes):
        for step in (-1, 1):
            index = point[i] + step
            if (_numbers(values) and len(values) > 1) or 0 <= index < len(values):
                found.append((*point[:i], index, *point[i + 1 :]))
    return found


def _setting(axes: Sequence[tuple[str, Sequence[Any]]], point: tuple[int, ...]) -> Setting:
    return {name: _value(values, i) for (name, values), i in zip(axes, point, strict=True)}


def _value(values: Sequence[Any], index: int) -> Any:
    """The value at an index, which may lie beyond the list's ends: then by its ratio."""
    if 0 <= index < len(values):
        return values[index]
    ratio = (values[-1] / values[0]) ** (1 / (len(values) - 1))
    end, beyond = (values[0], index) if index < 0 else (values[-1], index - len(values) + 1)
    return float(f"{end * ratio**beyond:.2g}")


def _numbers(values: Sequence[Any]) -> bool:
    """Whether an axis can be continued: positive fractions; whole numbers are sizes, and end."""
    return all(isinstance(v, float) and v > 0 for v in values)
