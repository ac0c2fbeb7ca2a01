"""Section 6: published numbers beside ours."""

from collections.abc import Sequence

from adept_llm.report.groups import LOSS, Comparison, Setting
from adept_llm.report.html import Html, element, table
from adept_llm.report.published import Published, of_tasks
from adept_llm.report.results import TEST, VALIDATION
from adept_llm.report.sections.layout import numeric, paragraph, section


def published_section(comparison: Comparison, entries: Sequence[Published]) -> Html | None:
    """One row for each published number of our tasks; None without any."""
    found = of_tasks(entries, [setting.task for setting in comparison.settings])
    if not found:
        return None
    rows: list[list[str]] = []
    for one in found:
        for setting in (s for s in comparison.settings if s.task == one.task):
            ours, split = our_number(comparison, one, setting)
            base = setting.base.rstrip("/").rsplit("/", 1)[-1]
            rows.append([
                one.method, one.task, one.metric, f"{one.percent:.1f}", one.base,
                source(one.source), ours, split, base if ours else "",
            ])  # fmt: skip
    told = paragraph(
        "In percent. Bases, templates and splits differ, so the numbers say how methods compare "
        "within a row's source rather than with ours. Empty: we have no such run."
    )
    head = ["method", "task", "metric", "published", "base", "source", "ours", "split", "our base"]
    caption = "Published numbers beside ours"
    return section("published", "Published numbers", told, table(caption, head, rows))


def our_number(comparison: Comparison, one: Published, setting: Setting) -> tuple[str, str]:
    """Ours for the same method, task and metric, and the split it is of."""
    group = comparison.chosen(setting).get(one.method)
    if group and one.metric != LOSS:
        for split in (TEST, VALIDATION):
            if found := group.metric(one.metric, split):
                return numeric(found, ".1f", 100), split
    return "", ""


def source(text: str) -> Html:
    """Where it stands; an address is a link."""
    link = next((word for word in text.split() if word.startswith("https://")), None)
    return element("td", element("a", text, href=link) if link else text, class_="text")
