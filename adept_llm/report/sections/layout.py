"""What all sections are made of: their head, the legend of the methods, a row of plots."""

from collections.abc import Iterable, Sequence

from adept_llm.report.figures import swatch
from adept_llm.report.groups import Comparison, Spread
from adept_llm.report.html import Html, element, join


def section(name: str, title: str, *content: str | None) -> Html:
    """A section with a heading that the page's index leads to."""
    return element(
        "section", element("h2", title, id=f"{name}-title"), *content, id=name,
        aria_labelledby=f"{name}-title",
    )  # fmt: skip


def paragraph(text: str) -> Html:
    """Running text."""
    return element("p", text)


def plots(figures: Iterable[Html | None]) -> Html | None:
    """Plots side by side, below each other on a phone; None where there are none."""
    drawn = [one for one in figures if one]
    return element("div", *drawn, class_="plots") if drawn else None


def legend(comparison: Comparison, methods: Sequence[str]) -> Html:
    """Each method's line, for all plots of a section."""
    entries = [
        element("li", swatch(comparison.methods.index(method)), method)
        for method in comparison.methods
        if method in methods
    ]
    return element("ul", *entries, class_="legend", aria_label="methods")


def first_of(before: Sequence[Sequence[str]], method: str, task: str) -> Html:
    """The first cell of a row of a method; the page rules a line above a new task."""
    new = bool(before) and before[-1][1] != task
    return element("th", method, scope="row", class_="new" if new else None)


def numeric(spread: Spread | None, form: str, factor: float = 1.0) -> str:
    """Mean and deviation as text; '' for what is not known."""
    if spread is None:
        return ""
    text = format(factor * spread.mean, form)
    # seeds that agree to the last digit, such as a number of parameters, have nothing to deviate
    if spread.deviation and float(format(factor * spread.deviation, form).replace(",", "")):
        text += f" ± {format(factor * spread.deviation, form)}"
    return text


def folded(title: str, *content: str | None) -> Html:
    """Content that opens at a click."""
    return element("details", element("summary", title), join(content))
