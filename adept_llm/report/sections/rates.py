"""Section 3: how much the rates matter, and whether the chosen ones lie inside the grid."""

from adept_llm.report.figures import Line, panel
from adept_llm.report.groups import LOSS, RATES, Comparison, Group, Setting
from adept_llm.report.html import Html, element, table
from adept_llm.report.results import shown
from adept_llm.report.sections.layout import folded, legend, paragraph, plots, section
from adept_llm.report.sensitivity import Grid, grid_of

AXES = ("learning rate", "offset learning rate")


def rates_section(comparison: Comparison) -> Html | None:
    """Plots along each rate, the table of edges, and maps where both were varied."""
    grids = {key: grid_of(choice) for key, choice in comparison.choices.items()}
    searched = {key: grid for key, grid in grids.items() if grid.varied()}
    if not searched:
        return None
    figures = []
    for setting, metric in comparison.settings.items():
        for axis in range(len(AXES)):
            for name in dict.fromkeys((LOSS, metric)):
                figures.append(rate_plot(comparison, searched, setting, axis, name))
    maps = [
        heat_map(comparison, key, grid)
        for key, grid in searched.items()
        if len(grid.varied()) == len(RATES)
    ]
    others = sum(grid.others for grid in searched.values())
    left_out = f" Groups that differ in more than their rates, left out: {others}."
    told = paragraph(
        "Validation loss and metric after training, mean over the seeds, by one rate with the "
        "other as chosen; of the search's runs where these were shorter. The chosen rate is "
        "ringed. Where it is the lowest or the highest of "
        "those tried, a better one may lie beyond." + (left_out if others else "")
    )
    return section(
        "rates", "Rates", told, legend(comparison, [method for method, _ in searched]),
        plots(figures), edge_table(comparison, searched),
        folded("All rates that were tried, where both were varied", *maps) if maps else None,
    )  # fmt: skip


def rate_plot(
    comparison: Comparison,
    grids: dict[tuple[str, Setting], Grid],
    setting: Setting,
    axis: int,
    name: str,
) -> Html | None:
    """A metric by a rate, a line for each method that tried several."""
    factor = 1.0 if name == LOSS else 100.0
    lines: list[Line] = []
    ticks: set[float] = set()
    for (method, of), grid in grids.items():
        if of != setting or axis not in grid.varied():
            continue
        points = [
            (rate, factor * found.mean)
            for rate, group in grid.line(axis)
            if rate > 0 and (found := group.metric(name, "validation"))
        ]
        if len(points) > 1:
            x, y = zip(*points, strict=True)
            ticks.update(x)
            series = comparison.methods.index(method)
            lines.append(Line(method, series, x, y, ring=grid.chosen[axis]))
    what = "validation loss" if name == LOSS else f"validation {name}, %"
    title = f"{comparison.name(setting)}: {what} by {AXES[axis]}"
    return panel(title, AXES[axis], lines, sorted(ticks), log_x=True)


def edge_table(comparison: Comparison, grids: dict[tuple[str, Setting], Grid]) -> Html:
    """What was tried, what was taken, and whether that is an end."""
    rows = []
    for (method, setting), grid in grids.items():
        for axis in grid.varied():
            edge = grid.edge(axis)
            mark = element("td", element("strong", f"⚠ {edge} tried"), class_="edge")
            tried = ", ".join(f"{value:g}" for value in grid.values(axis))
            chosen = grid.chosen[axis]
            rows.append([
                method, comparison.name(setting), AXES[axis], tried,
                "" if chosen is None else f"{chosen:g}", mark if edge else "inside",
            ])  # fmt: skip
    head = ["method", "task", "rate", "tried", "chosen", "place in the grid"]
    return table("Rates that were tried", head, rows)


def heat_map(comparison: Comparison, key: tuple[str, Setting], grid: Grid) -> Html:
    """Loss and metric for each pair of rates, the lower the loss the deeper the ground."""
    method, setting = key
    metric = comparison.settings[setting]
    losses = [s.mean for g in grid.groups.values() if (s := g.metric(LOSS, "validation"))]
    rows = []
    for offset_rate in grid.values(1):
        row = [f"{AXES[1]} {offset_rate:g}"]
        for rate in grid.values(0):
            point = (rate, offset_rate)
            row.append(map_cell(grid.groups.get(point), metric, losses, point == grid.chosen))
        rows.append(row)
    head = [AXES[0], *(f"{rate:g}" for rate in grid.values(0))]
    caption = f"{method}, {comparison.name(setting)}: validation loss and {metric}"
    return table(caption, head, rows, "numbers heat")


def map_cell(group: Group | None, metric: str, losses: list[float], chosen: bool) -> Html:
    """A cell; empty for a pair that was not tried."""
    if group is None:
        return element("td")
    loss, found = group.metric(LOSS, "validation"), group.metric(metric, "validation")
    parts = [shown(loss.mean, LOSS)] if loss else []
    if found and metric != LOSS:
        parts.append(shown(found.mean, metric) + "%")
    share = 0.0
    if loss and max(losses) > min(losses):
        share = (max(losses) - loss.mean) / (max(losses) - min(losses))
    text = " / ".join(parts)
    return element(
        "td", element("strong", f"{text} (chosen)") if chosen else text, style=f"--v:{share:.0%}"
    )
