"""The page: one HTML file that needs nothing else."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from adept_llm import __version__
from adept_llm.report.figures import number_ids
from adept_llm.report.groups import Comparison
from adept_llm.report.html import Html, element, join
from adept_llm.report.published import Published
from adept_llm.report.runs import Run
from adept_llm.report.sections.curves import curves_section
from adept_llm.report.sections.mistakes import mistakes_section
from adept_llm.report.sections.published import published_section
from adept_llm.report.sections.rates import rates_section
from adept_llm.report.sections.results import results_section
from adept_llm.report.sections.words import words_section

STYLE, SCRIPT = (Path(__file__).with_name(name) for name in ("page.css", "page.js"))
SECTIONS = {
    "results": "Results",
    "curves": "Curves",
    "rates": "Rates",
    "words": "Words",
    "mistakes": "Wrong predictions",
    "published": "Published numbers",
}
TITLE = "Tuning runs"


def page(
    runs: Sequence[Run],
    unfinished: Sequence[Path] = (),
    published: Sequence[Published] = (),
    levels: Sequence[float] = (),
) -> str:
    """The whole file.

    Args:
        runs: To compare.
        unfinished: Folders of runs without results, which are counted.
        published: Numbers to stand beside ours.
        levels: Of the metrics, for the table of steps; by default round ones.
    """
    comparison = Comparison.of(runs)
    sections = {
        "results": results_section(comparison),
        "curves": curves_section(comparison, levels),
        "rates": rates_section(comparison),
        "words": words_section(comparison),
        "mistakes": mistakes_section(comparison),
        "published": published_section(comparison, published),
    }
    titled = {name: (SECTIONS[name], content) for name, content in sections.items()}
    return document(TITLE, summary(comparison, runs, unfinished), titled, "adept-llm report")


def document(
    title: str, told: str, sections: Mapping[str, tuple[str, Html | None]], command: str
) -> str:
    """A page of sections.

    Args:
        title: Its heading.
        told: What stands below that.
        sections: Name -> title and content; those without content are left out.
        command: That wrote it.
    """
    there = {name: one for name, one in sections.items() if one[1]}
    links = [element("li", element("a", one[0], href=f"#{n}")) for n, one in there.items()]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Html(STYLE.read_text("utf-8"))),
    )
    body = element(
        "body",
        element(
            "header",
            element("h1", title),
            element("p", told),
            element("nav", element("ul", *links), aria_label="sections"),
        ),
        element("main", number_ids(join(content for _, content in there.values()))),
        element("footer", element("p", f"Written by {command}, version {__version__}.")),
        element("script", Html(SCRIPT.read_text("utf-8"))),
    )
    return "<!DOCTYPE html>\n" + element("html", head, body, lang="en") + "\n"


def summary(comparison: Comparison, runs: Sequence[Run], unfinished: Sequence[Path]) -> str:
    """What was compared."""
    bases = list(dict.fromkeys(run.base.rstrip("/").rsplit("/", 1)[-1] for run in runs))
    text = (
        f"{count(len(runs), 'run')} of {count(len(comparison.methods), 'method')} on "
        f"{count(len({setting.task for setting in comparison.settings}), 'task')} with "
        f"{', '.join(bases)}."
    )
    if unfinished:
        text += f" Left out: {count(len(unfinished), 'run')} without results."
    return text


def count(number: int, what: str) -> str:
    """A number of things."""
    return f"{number} {what}" + ("" if number == 1 else "s")
