"""Section 1: methods by tasks, and what each took."""

from adept_llm.report.convergence import RULE
from adept_llm.report.costs import COLUMNS, convergence
from adept_llm.report.groups import LOSS, RATES, Comparison
from adept_llm.report.html import Html, element, table
from adept_llm.report.results import TEST, VALIDATION, Cell, Results, results
from adept_llm.report.sections.layout import first_of, numeric, paragraph, section
from adept_llm.report.text import note, plain, titles


def results_section(comparison: Comparison) -> Html:
    """Both tables and the rules behind them."""
    found = results(comparison)
    return section(
        "results", "Results",
        main_table(found), paragraph(explained(found)),
        cost_table(comparison), paragraph(RULE), paragraph(how_chosen(comparison)),
    )  # fmt: skip


def main_table(found: Results) -> Html:
    """Methods by tasks."""
    rows = []
    for method in found.comparison.methods:
        row: list[str] = [method]
        for setting in found.comparison.settings:
            row.append(result_cell(found, found.cells.get((method, setting))))
        if found.averages:
            value = found.averages.get(method)
            text = "" if value is None else f"{100 * value:.1f}"
            best = value is not None and value == found.best_average()
            row.append(element("td", element("strong", text) if best else text))
        rows.append(row)
    return table("Methods by tasks", titles(found), rows, "numbers")


def result_cell(found: Results, cell: Cell | None) -> Html:
    """Mean and deviation; the best is strong."""
    if cell is None:
        return element("td")
    text = plain(found, cell)
    small = None if found.seeds else element("small", f" n={len(cell.spread.values)}")
    return element("td", element("strong", text) if cell.best else text, small)


def explained(found: Results) -> str:
    """What stands in table 1."""
    text = note(found) + " The best mean is bold"
    text += "." if found.seeds else ", n is the number of seeds."
    if found.splits == {TEST, VALIDATION}:
        text += " Numbers with a star do not compete with the others."
    if found.averages:
        text += " The average is that of the tasks' means."
    return text


def cost_table(comparison: Comparison) -> Html:
    """One row for each method and task."""
    head = ["method", "task", "runs", "rate", "offset rate"]
    head += [column.title for column in COLUMNS] + ["converged"]
    rows: list[list[str]] = []
    for setting in comparison.settings:
        name = comparison.name(setting)
        for method, group in comparison.chosen(setting).items():
            yes, known = convergence(group)
            rates = [group.rate(name) for name in RATES]
            cells = ["" if rate is None else f"{rate:g}" for rate in rates]
            cells += [numeric(column.of(group), column.form) for column in COLUMNS]
            cells.append(f"{yes} of {known}" if known else "")
            rows.append([first_of(rows, method, name), name, str(len(group.runs)), *cells])
    return table("What each chosen group of runs took", head, rows, "numbers costs")


def how_chosen(comparison: Comparison) -> str:
    """By what the groups were chosen, and how many were left."""
    searched = [choice for choice in comparison.choices.values() if choice.search]
    if not searched:
        return "Each method has one group of runs on each task: nothing had to be chosen."
    text = (
        "Runs that are equal but for their seeds are a group. Of a method's groups on a task the "
        "one with the lowest validation loss is shown, compared over the seeds that all of them "
        f"have; {sum(len(choice.search) for choice in searched)} other groups are the search. "
        "The test split had no part in it."
    )
    other = [key for key, one in comparison.choices.items() if one.search and one.by != LOSS]
    if other:
        names = ", ".join(f"{method} on {comparison.name(s)}" for method, s in other)
        text += f" Without a validation loss, by the validation metric or in order: {names}."
    return text
