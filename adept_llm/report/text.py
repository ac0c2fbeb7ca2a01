"""The first table as Markdown and LaTeX, and all groups as CSV."""

import csv
import io
from collections.abc import Callable

from adept_llm.report.costs import COLUMNS, convergence
from adept_llm.report.groups import RATES, Comparison, Group, Setting
from adept_llm.report.results import TEST, VALIDATION, Cell, Results, results, shown

LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "_": r"\_", "%": r"\%", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "·": r"\textperiodcentered{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}",  # a dash in the usual fonts
}  # fmt: skip


def note(table: Results) -> str:
    """What the numbers are."""
    splits = table.splits
    where = f"on the {' or '.join(sorted(splits))} split" if splits else "without a metric"
    mark = "; * on the validation split" if splits == {TEST, VALIDATION} else ""
    seeds = f"{table.seeds} seeds" if (table.seeds or 0) > 1 else "seeds"
    return (
        f"Mean ± standard deviation over {seeds}, {where}; metrics in percent, losses in "
        f"nats{mark}. For each method and task the group of runs with the lowest validation loss."
    )


def heading(comparison: Comparison, setting: Setting) -> str:
    """A column's name and metric."""
    return f"{comparison.name(setting)} ({comparison.settings[setting]})"


def cells_of(
    table: Results, method: str, write: Callable[[Cell], str], bold: Callable[[str], str]
) -> list[str]:
    """A method's row, without its name; '' where it was not run."""
    row = []
    for setting in table.comparison.settings:
        cell = table.cells.get((method, setting))
        text = write(cell) if cell else ""
        row.append(bold(text) if cell and cell.best else text)
    if table.averages:
        value = table.averages.get(method)
        text = "" if value is None else f"{100 * value:.1f}"
        row.append(bold(text) if value is not None and value == table.best_average() else text)
    return row


def titles(table: Results) -> list[str]:
    """The columns' titles."""
    settings = [heading(table.comparison, one) for one in table.comparison.settings]
    return ["method", *settings, *(["average"] if table.averages else [])]


def plain(table: Results, cell: Cell, between: str = " ± ") -> str:
    """A cell's numbers, with a star for the validation split where others are of the test split."""
    text = shown(cell.spread.mean, cell.metric)
    if cell.spread.deviation is not None:
        text += between + shown(cell.spread.deviation, cell.metric)
    return text + ("*" if cell.split == VALIDATION and TEST in table.splits else "")


def markdown(comparison: Comparison) -> str:
    """The table, and what its numbers are."""
    table = results(comparison)

    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    def safe(text: str) -> str:
        for mark in "\\`*_[]<>|":
            text = text.replace(mark, "\\" + mark)
        return text

    head = titles(table)
    rows = [
        [safe(m), *cells_of(table, m, lambda cell: safe(plain(table, cell)), "**{}**".format)]
        for m in comparison.methods
    ]
    rule = [" --- ", *([" ---: "] * (len(head) - 1))]
    lines = [line([safe(text) for text in head]), "|" + "|".join(rule) + "|", *map(line, rows)]
    return "\n".join([*lines, "", safe(note(table)), ""])


def latex_text(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(LATEX.get(mark, mark) for mark in text)


def latex(comparison: Comparison) -> str:
    r"""A table for booktabs, without the float around it but for caption and \centering."""
    table = results(comparison)

    def write(cell: Cell) -> str:
        return latex_text(plain(table, cell, "±")).replace("±", r"\,$\pm$\,")

    head = [latex_text(text) for text in titles(table)]
    rows = [
        [latex_text(m), *cells_of(table, m, write, r"\textbf{{{}}}".format)]
        for m in comparison.methods
    ]
    caption = latex_text(note(table)).replace("±", r"$\pm$")
    return "\n".join([
        "% \\usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
        r"\toprule",
        " & ".join(head) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
        "",
    ])  # fmt: skip


def long_csv(comparison: Comparison) -> str:
    """One line a group, split and metric; the groups of the search too.

    Metrics are as they were measured, shares as shares. What is not known is empty.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    costs = [column.name for column in COLUMNS]
    writer.writerow([
        "base", "task", "method", "chosen", *RATES, "split", "metric", "mean", "deviation",
        "seeds", *costs, "converged", "folders",
    ])  # fmt: skip
    for (method, setting), choice in comparison.choices.items():
        for group in (choice.group, *choice.search):
            chosen = "yes" if group is choice.group else "no"
            rates = [_cell(group.rate(name)) for name in RATES]
            yes, known = convergence(group)
            costed = [column.of(group) for column in COLUMNS]
            ends = [_cell(one.mean if one else None) for one in costed]
            ends.append(f"{yes} of {known}" if known else "")
            ends.append(";".join(str(run.folder) for run in group.runs))
            start = [setting.base, setting.task, method, chosen, *rates]
            for row in _metrics(group):
                writer.writerow([*start, *row, *ends])
    return out.getvalue()


def _metrics(group: Group) -> list[list[str]]:
    found = []
    for split in (TEST, VALIDATION):
        for name in dict.fromkeys(name for run in group.runs for name in getattr(run, split)):
            if spread := group.metric(name, split):
                count = str(len(spread.values))
                found.append([split, name, _cell(spread.mean), _cell(spread.deviation), count])
    return found or [["", "", "", "", str(len(group.runs))]]


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"
