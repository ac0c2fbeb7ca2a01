"""The first table: methods by tasks, a mean over seeds in each cell, the best marked."""

import statistics
from dataclasses import dataclass, replace

from adept_llm.report.groups import LOSS, Comparison, Group, Setting, Spread

TEST, VALIDATION = "test", "validation"


@dataclass(frozen=True)
class Cell:
    """What a method came to in a setting.

    Attributes:
        spread: Over the seeds; of the runs with a test metric where there are some.
        metric: Its name.
        split: 'test' or 'validation'.
        best: Whether no other method has a better mean on that split, where methods differ.
    """

    spread: Spread
    metric: str
    split: str
    best: bool = False


@dataclass(frozen=True)
class Results:
    """The table.

    Attributes:
        comparison: Where it comes from.
        cells: Method and setting -> cell; without those that were not run or measured.
        averages: Method -> mean over the settings, for methods that have all of them, where all
            are of one split and none is a loss.
    """

    comparison: Comparison
    cells: dict[tuple[str, Setting], Cell]
    averages: dict[str, float]

    @property
    def splits(self) -> set[str]:
        """Which splits it tells of."""
        return {cell.split for cell in self.cells.values()}

    @property
    def seeds(self) -> int | None:
        """The number of seeds behind each cell; None where they differ."""
        counts = {len(cell.spread.values) for cell in self.cells.values()}
        return counts.pop() if len(counts) == 1 else None

    def best_average(self) -> float | None:
        """The highest average of several."""
        return max(self.averages.values()) if len(self.averages) > 1 else None


def results(comparison: Comparison) -> Results:
    """Fill the table."""
    cells: dict[tuple[str, Setting], Cell] = {}
    for setting, metric in comparison.settings.items():
        groups = comparison.chosen(setting)
        column = {m: cell for m, group in groups.items() if (cell := cell_of(group, metric))}
        cells.update({(m, setting): cell for m, cell in marked(column).items()})
    return Results(comparison, cells, averages(comparison, cells))


def cell_of(group: Group, metric: str) -> Cell | None:
    """The group's metric on the test split if it was measured there, else on validation."""
    for split in (TEST, VALIDATION):
        if found := group.metric(metric, split):
            return Cell(found, metric, split)
    return None


def marked(column: dict[str, Cell]) -> dict[str, Cell]:
    """The cells of one setting with the best marked; splits are not compared with each other.

    Only cells on the test split compete where there are some.
    """
    split = TEST if any(cell.split == TEST for cell in column.values()) else VALIDATION
    rivals = [cell for cell in column.values() if cell.split == split]
    if len(rivals) < 2:
        return column
    sign = -1 if rivals[0].metric == LOSS else 1
    top = max(sign * cell.spread.mean for cell in rivals)
    return {
        method: replace(cell, best=cell.split == split and sign * cell.spread.mean == top)
        for method, cell in column.items()
    }


def averages(comparison: Comparison, cells: dict[tuple[str, Setting], Cell]) -> dict[str, float]:
    """Method -> mean over all settings, see `Results`."""
    settings = list(comparison.settings)
    one_kind = len({cell.split for cell in cells.values()}) == 1
    if len(settings) < 2 or not one_kind or any(c.metric == LOSS for c in cells.values()):
        return {}
    whole = [m for m in comparison.methods if all((m, s) in cells for s in settings)]
    return {m: statistics.fmean(cells[m, s].spread.mean for s in settings) for m in whole}


def shown(value: float, metric: str) -> str:
    """A metric in percent with one digit, a loss with three."""
    return f"{value:.3f}" if metric == LOSS else f"{100 * value:.1f}"
