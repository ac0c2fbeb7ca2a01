"""How much the rates matter: the groups that differ from the chosen one by their rates alone."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from adept_llm.report.groups import RATES, Choice, Group

Point = tuple[float | None, float | None]
"""The prompt's rate (or the only one), and the offset's."""


@dataclass(frozen=True)
class Grid:
    """Rates that were tried for one method in one setting.

    Attributes:
        chosen: The rates taken.
        groups: Rates -> runs there.
        others: Number of groups that differ from these in more than their rates, and are left out.
    """

    chosen: Point
    groups: dict[Point, Group]
    others: int = 0

    def values(self, axis: int) -> list[float]:
        """All values that were tried of a rate, ascending."""
        return sorted({rate for point in self.groups if (rate := point[axis]) is not None})

    def varied(self) -> list[int]:
        """Which of the rates have more than one value."""
        return [axis for axis in range(len(RATES)) if len(self.values(axis)) > 1]

    def line(self, axis: int) -> list[tuple[float, Group]]:
        """The groups through the chosen point along a rate."""
        other = 1 - axis
        found = [
            (rate, group)
            for point, group in self.groups.items()
            if point[other] == self.chosen[other] and (rate := point[axis]) is not None
        ]
        return sorted(found, key=lambda pair: pair[0])

    def edge(self, axis: int) -> str:
        """'lowest' or 'highest' where the chosen rate is the end of those tried, else ''.

        The best rate may lie beyond it. A rate with one value only was not searched.
        """
        values, chosen = self.values(axis), self.chosen[axis]
        if len(values) < 2 or chosen not in (values[0], values[-1]):
            return ""
        return "lowest" if chosen == values[0] else "highest"


def grid_of(choice: Choice) -> Grid:
    """The rates that were tried around the chosen group, all else equal among them.

    The largest such family that has the chosen rates: where a search took shorter runs, these.
    """
    families: dict[str, list[Group]] = defaultdict(list)
    for one in (choice.group, *choice.search):
        families[one.key_but_rates].append(one)
    rates = point_of(choice.group)
    same = max(
        (each for each in families.values() if any(point_of(one) == rates for one in each)), key=len
    )
    groups = {point_of(group): group for group in same}
    return Grid(point_of(choice.group), groups, 1 + len(choice.search) - len(same))


def point_of(group: Group) -> Point:
    """Its rates."""
    return group.rate(RATES[0]), group.rate(RATES[1])


def edges(grids: Sequence[Grid]) -> int:
    """How many chosen rates lie at an end of those tried."""
    return sum(bool(grid.edge(axis)) for grid in grids for axis in grid.varied())
