"""Section 5: wrong predictions, to page through."""

from adept_llm.report.groups import Comparison, Group, Setting
from adept_llm.report.html import Html, element
from adept_llm.report.mistakes import Mistake, Mistakes, read_mistakes
from adept_llm.report.sections.layout import folded, paragraph, section

BUDGET = 1000  # on a page: more would make it slow to open
MOST = 100
CHARACTERS = 400  # of a text: its end, where the question stands, is kept whole


def mistakes_section(comparison: Comparison) -> Html | None:
    """For the first run with predictions of each chosen group; None without any."""
    limit = max(5, min(MOST, BUDGET // len(comparison.choices)))
    parts: list[Html] = []
    reasons: dict[str, None] = {}
    for (method, setting), choice in comparison.choices.items():
        found = mistakes_of(choice.group, limit)
        if found:
            parts.append(listed(comparison, method, setting, found))
            if found.why_no_text:
                reasons[found.why_no_text] = None
    if not parts:
        return None
    gaps = [element("p", f"Without text: {line}.", class_="gap") for line in reasons]
    told = paragraph(
        "Of the first run of each chosen group that has predictions: rows whose answer is not "
        f"right by the task's metric, at most {limit} a run, spread evenly over the split. Scores "
        "are log-likelihoods of the labels."
    )
    return section("mistakes", "Wrong predictions", told, *gaps, *parts)


def mistakes_of(group: Group, limit: int) -> Mistakes | None:
    """Of the group's first run with predictions."""
    return next((found for run in group.runs if (found := read_mistakes(run, limit))), None)


def listed(comparison: Comparison, method: str, setting: Setting, found: Mistakes) -> Html:
    """A list that the page's script cuts into leaves; without a script it stands whole."""
    title = f"{method}, {comparison.name(setting)}: {found.wrong} of {found.rows} wrong"
    if len(found.shown) < found.wrong:
        title += f", {len(found.shown)} shown"
    return folded(title, element("ol", *map(entry, found.shown), class_="leaves"))


def entry(one: Mistake) -> Html:
    """What was asked and answered."""
    scores = ", ".join(f"{label} {score:.2f}" for label, score in one.scores.items())
    return element(
        "li",
        element("p", shorten(one.text), class_="asked") if one.text else None,
        element(
            "p", "said ", element("b", one.prediction or "(nothing)"), ", right is ",
            element("b", one.target), f" ({scores})" if scores else None,
            element("small", f" {one.id}"),
        ),
    )  # fmt: skip


def shorten(text: str) -> str:
    """The beginning and the end of a long text."""
    if len(text) <= CHARACTERS:
        return text
    return f"{text[: CHARACTERS // 2]} […] {text[-CHARACTERS // 2 :]}"
