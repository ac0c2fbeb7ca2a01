"""Section 2: losses and metrics by step, and the steps to a level."""

from collections.abc import Sequence

from adept_llm.report.curves import Curve, measured, reached, round_levels, training_loss
from adept_llm.report.figures import Line, panel
from adept_llm.report.groups import LOSS, Comparison, Group, Setting
from adept_llm.report.html import Html, element, join, table
from adept_llm.report.sections.layout import legend, paragraph, plots, section


def curves_section(comparison: Comparison, levels: Sequence[float]) -> Html | None:
    """Plots of the chosen groups, and the table of steps; None for runs without logs.

    Args:
        comparison: The runs.
        levels: To reach; by default round ones that suit each task.
    """
    figures: list[Html | None] = []
    tables: list[Html | None] = []
    seen: set[str] = set()
    for setting, metric in comparison.settings.items():
        groups = comparison.chosen(setting)
        name = comparison.name(setting)
        kinds = [(f"{name}: training loss", {m: training_loss(g) for m, g in groups.items()}, 1.0)]
        kinds.append((f"{name}: validation loss", _measured(groups, LOSS), 1.0))
        if metric != LOSS:
            kinds.append((f"{name}: {metric}, %", _measured(groups, metric), 100.0))
        for title, curves, factor in kinds:
            lines = lines_of(comparison, curves, factor)
            seen.update(line.name for line in lines)
            markers = "training" not in title
            log_y = factor == 1.0  # a loss, which falls by a decade in the first steps
            figures.append(panel(title, "step", lines, markers=markers, log_y=log_y))
        tables.append(steps_table(comparison, setting, levels))
    drawn = plots(figures)
    if drawn is None:
        return None
    told = paragraph(
        "Mean over the seeds; the band is from the lowest to the highest seed. The training loss "
        "is a moving mean over a twentieth of the log. Validation numbers at step 0 are of the "
        "untrained adapter."
    )
    steps = paragraph(
        "Steps to a level: mean over the seeds of the first evaluation at which the metric on the "
        "validation split was at least so high; where some runs never came there, how many did. "
        "A dash: none did. Empty: not measured on the way."
    )
    found = [one for one in tables if one]
    return section(
        "curves", "Curves", told, legend(comparison, sorted(seen)), drawn,
        join([element("div", *found, class_="side"), steps]) if found else None,
    )  # fmt: skip


def _measured(groups: dict[str, Group], metric: str) -> dict[str, Curve | None]:
    return {method: measured(group, metric) for method, group in groups.items()}


def lines_of(comparison: Comparison, curves: dict[str, Curve | None], factor: float) -> list[Line]:
    """Lines with the methods' colours."""
    return [
        Line(
            method, comparison.methods.index(method), curve.steps,
            [factor * y for y in curve.mean], [factor * y for y in curve.low],
            [factor * y for y in curve.high],
        )
        for method, curve in curves.items()
        if curve
    ]  # fmt: skip


def steps_table(comparison: Comparison, setting: Setting, levels: Sequence[float]) -> Html | None:
    """Methods by levels; None where no level can be reached or nothing was measured on the way."""
    metric, groups = comparison.settings[setting], comparison.chosen(setting)
    wanted = list(levels) or round_levels(list(groups.values()), metric)
    if not wanted or not any(_measured(groups, metric).values()):
        return None
    rows = []
    for method, group in groups.items():
        rows.append([method, *(steps_cell(group, metric, level) for level in wanted)])
    caption = f"Steps to a level of {metric}, {comparison.name(setting)}"
    titles = (f"{level:g}" if metric == LOSS else f"{100 * level:g}%" for level in wanted)
    return table(caption, ["method", *titles], rows, "numbers")


def steps_cell(group: Group, metric: str, level: float) -> str:
    """When, or how many did."""
    found = reached(group, metric, level)
    if found.mean is not None:
        # the mean of three steps of 50 each has no end
        return f"{found.mean:,.1f}".removesuffix(".0")
    if not found.runs:
        return ""
    return f"{len(found.steps)} of {found.runs} runs" if found.steps else "–"
