"""Section 4: the offset by word, the words it moves most, and those that the prompt is near."""

from adept_llm.errors import InputError
from adept_llm.report.figures import Line, panel
from adept_llm.report.groups import Comparison, Group, Setting
from adept_llm.report.html import Html, element, table
from adept_llm.report.sections.layout import folded, legend, paragraph, plots, section
from adept_llm.report.words import QUANTILES, Words, has_adapter, read_words

POINTS = 60
BUDGET = 1200  # virtual tokens on a page: more would make it slow to open
LEAST = 10


def words_section(comparison: Comparison, base: str | None = None) -> Html | None:
    """Tables and plots of the first run with an adapter of each chosen group; None without any.

    Args:
        comparison: The runs.
        base: As for `read_words`.
    """
    found: dict[tuple[str, Setting], Words] = {}
    missing: dict[str, None] = {}
    for key, choice in comparison.choices.items():
        try:
            words = words_of(choice.group, base)
        except InputError as error:
            missing[str(error)] = None
            continue
        if words:
            found[key] = words
    if not found and not missing:
        return None
    gaps = [element("p", f"Left out: {line}.", class_="gap") for line in missing]
    if not found:
        return section("words", "Words", *gaps)
    told = paragraph(
        "Of the first run of each chosen group that has its adapter. The size of an offset is the "
        "root mean square of its entries in units of the embedding table's: an offset of size 1 is "
        "as large as a typical row. DePT's offset depends on the position, not on the word."
    )
    moving = {key: words for key, words in found.items() if words.sizes}
    figures = [size_plot(comparison, moving, setting) for setting in comparison.settings]
    return section(
        "words", "Words", told, *gaps,
        legend(comparison, [method for method, _ in moving]) if moving else None,
        plots(figures), size_table(comparison, moving) if moving else None,
        *(
            nearest(comparison, key, words, max(LEAST, BUDGET // len(found)))
            for key, words in found.items()
            if words.nearest
        ),
    )  # fmt: skip


def words_of(group: Group, base: str | None) -> Words | None:
    """Of the group's first run with an adapter; None without any."""
    run = next((run for run in group.runs if has_adapter(run.folder)), None)
    return read_words(run, base) if run else None


def size_plot(
    comparison: Comparison, found: dict[tuple[str, Setting], Words], setting: Setting
) -> Html | None:
    """Share of words whose offset is at most so large."""
    lines = []
    for (method, of), words in found.items():
        if of == setting:
            shares = [i / POINTS for i in range(POINTS + 1)]
            # words that were never moved have no place on a logarithmic axis: the line begins there
            moved = [(size, 100 * s) for s in shares if (size := words.quantile(s)) > 0]
            sizes, percent = zip(*moved, strict=True) if moved else ((), ())
            lines.append(Line(method, comparison.methods.index(method), sizes, percent))
    title = f"{comparison.name(setting)}: % of words by size of offset"
    return panel(title, "offset of at most", lines, log_x=True, markers=False)


def size_table(comparison: Comparison, found: dict[tuple[str, Setting], Words]) -> Html:
    """Quantiles, and the words at the upper end."""
    rows: list[list[str]] = []
    for (method, setting), words in found.items():
        sizes = [f"{words.quantile(share):.3g}" for share in QUANTILES]
        moved: list[Html | str] = []
        for word, size in words.moved:
            moved += [element("code", word), f" {size:.2g}  "]
        named = element("td", *moved, class_="text")
        rows.append([method, comparison.name(setting), *sizes, named])
    head = ["method", "task", *(f"{share:.0%} at most" for share in QUANTILES), "moved most"]
    return table("Size of the offsets", head, rows, "numbers sizes")


def nearest(comparison: Comparison, key: tuple[str, Setting], words: Words, limit: int) -> Html:
    """The first virtual tokens with the words near them."""
    method, setting = key
    rows: list[list[str]] = []
    for number, row in enumerate(words.nearest[:limit], 1):
        cells = [element("td", element("code", n.word), f" {n.cosine:.2f}") for n in row]
        rows.append([str(number), *cells])
    ranks = [f"{i + 1}." for i in range(len(words.nearest[0]))]
    title = f"{method}, {comparison.name(setting)}: words nearest to each virtual token"
    if limit < len(words.nearest):
        title += f", the first {limit} of {len(words.nearest)}"
    caption = f"{method}, {comparison.name(setting)}: nearest words and their cosines"
    return folded(title, table(caption, ["virtual token", *ranks], rows))
