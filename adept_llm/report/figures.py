"""Line plots as inline SVG whose colours are the page's, so that they follow light and dark."""

import io
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adept_llm.errors import InputError
from adept_llm.report.html import Html, element

SERIES = 10  # colours; further methods begin again with another dash
WIDTH, HEIGHT = 340, 230  # px, as wide as a phone shows whole
DASHES = ((), (5, 1.5), (1.5, 1.2), (6, 1.5, 1.5, 1.5))
MARKERS = "os^Dv<>pXh"
MARKED = 8  # markers on a line, at most
LABEL = 0.16  # of the axis, which the label of a tick may need
INK, GRID = "#fd0000", "#fd0001"
IDS = re.compile(r'( id="|"#|url\(#)([mp][0-9a-f]{10}(?=["\)]))')
# coordinates with more digits than one, in attributes alone: text may be numbers too
PLACES, LONG = re.compile(r' (?:d|x|y|transform)="[^"]*"'), re.compile(r"-?\d+\.\d{2,}")
NAMES = {INK: "ink", GRID: "rule"}


@dataclass(frozen=True)
class Line:
    """A line of a plot.

    Attributes:
        name: Of what it tells.
        series: Place of the method among all, which gives colour, dash and marker.
        x: Ascending.
        y: As many.
        low: Lower edge of a band around it; empty for none.
        high: The upper one.
        ring: x of a point to be ringed.
    """

    name: str
    series: int
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    ring: float | None = None


def check_matplotlib() -> None:
    """Refuse to begin a page that could not be drawn.

    Raises:
        InputError: where matplotlib is missing.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError(
            "report: a page needs matplotlib; pip install 'adept-llm[report]', or give --output "
            "with .md, .tex or .csv"
        ) from error


def panel(
    title: str,
    x_label: str,
    lines: Sequence[Line],
    ticks: Sequence[float] | None = None,
    log_x: bool = False,
    markers: bool = True,
    log_y: bool = False,
) -> Html | None:
    """A plot below its title; None where there is nothing to draw.

    Args:
        title: What is drawn, and where.
        x_label: Below the axis.
        lines: Those without points are left out.
        ticks: Where a logarithmic axis has ticks, if not at round numbers.
        log_x: Whether the axis is logarithmic.
        markers: Whether points are marked.
        log_y: Whether the other axis may be: it is where its values span more than a decade.
    """
    import matplotlib
    from matplotlib.figure import Figure

    drawn = [line for line in lines if len(line.x)]
    if not drawn:
        return None
    # text as text, and ids that do not change from one writing to the next
    with matplotlib.rc_context({
        "svg.fonttype": "none", "svg.hashsalt": "adept_llm", "font.size": 10,
        "text.color": INK, "axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK,
        "ytick.color": INK, "grid.color": GRID, "axes.linewidth": 0.7, "path.simplify": True,
    }):  # fmt: skip
        figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72), layout="constrained")
        axes = figure.add_subplot()
        axes.grid(linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        for line in drawn:
            _draw(axes, line, markers)
        if not log_x and all(x == int(x) for line in drawn for x in line.x):
            axes.locator_params(axis="x", integer=True)  # no layer 1.25
        if log_x:
            axes.set_xscale("log")
            _set_ticks(axes, ticks or decades(axes.get_xlim()))
        if log_y and _spans_a_decade(drawn):
            axes.set_yscale("log")
            ticks = decades(axes.get_ylim())
            axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.set_yticks([], minor=True)
        axes.set_xlabel(x_label)
        file = io.StringIO()
        empty = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=empty)
    label = f"{title}. " + "; ".join(map(_in_words, drawn))
    return element("figure", element("figcaption", title), inline(file.getvalue(), label))


def _spans_a_decade(lines: Sequence[Line]) -> bool:
    values = [y for line in lines for y in (*line.y, *line.low)]
    return min(values) > 0 and max(values) > 10 * min(values)


def _draw(axes: Any, line: Line, markers: bool) -> None:
    color = colour(line.series)
    (drawn,) = axes.plot(line.x, line.y, color=color, linewidth=1.7)
    if dash := DASHES[_style(line.series)]:
        drawn.set_dashes(dash)
    if markers:
        drawn.set_marker(MARKERS[line.series % len(MARKERS)])
        drawn.set_markersize(5)
        drawn.set_markevery(max(1, len(line.x) // MARKED))
    if len(line.low) and any(a != b for a, b in zip(line.low, line.high, strict=True)):
        axes.fill_between(line.x, line.low, line.high, color=color, alpha=0.16, linewidth=0)
    if line.ring is not None and line.ring in line.x:
        place = list(line.x).index(line.ring)
        axes.plot(
            [line.ring], [line.y[place]], marker="o", markersize=11, markerfacecolor="none",
            markeredgecolor=INK, markeredgewidth=1.3, linestyle="none",
        )  # fmt: skip


def _set_ticks(axes: Any, ticks: Sequence[float]) -> None:
    """Ticks of a logarithmic axis, without those whose labels would touch."""
    low, high = map(math.log10, axes.get_xlim())
    kept: list[float] = []
    for tick in ticks:
        if not kept or math.log10(tick / kept[-1]) >= LABEL * (high - low):
            kept.append(tick)
    axes.set_xticks(kept, [f"{tick:g}" for tick in kept])
    axes.set_xticks([], minor=True)


def decades(limits: tuple[float, float]) -> list[float]:
    """Round numbers within two positive limits, as many of a decade as have room."""
    low, high = map(math.log10, limits)
    room = LABEL * (high - low)
    digits = (1, 2, 5) if room <= math.log10(2) else (1, 3) if room <= math.log10(3) else (1,)
    powers = range(math.floor(low), math.floor(high) + 1)
    found = [digit * 10.0**power for power in powers for digit in digits]
    return [tick for tick in found if limits[0] <= tick <= limits[1]]


def colour(series: int) -> str:
    """A stand-in for the page's colour of a series, replaced by `inline`."""
    return f"#fe00{series % SERIES:02x}"


def _style(series: int) -> int:
    """Neighbours differ, and so do series of the same colour."""
    return (series + series // SERIES) % len(DASHES)


def swatch(series: int) -> Html:
    """A short piece of a series' line, for a legend."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "adept_llm"}):
        figure = Figure(figsize=(34 / 72, 12 / 72))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set(xlim=(-1, 1), ylim=(-1, 1))
        _draw(axes, Line("", series, (-1, 1), (0, 0)), markers=False)
        _draw(axes, Line("", series, (0,), (0,)), markers=True)
        file = io.StringIO()
        empty = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=empty)
    return inline(file.getvalue(), "")


def _in_words(line: Line) -> str:
    return f"{line.name}: {line.y[0]:.3g} at {line.x[0]:g} to {line.y[-1]:.3g} at {line.x[-1]:g}"


def inline(svg: str, label: str) -> Html:
    """A file of matplotlib as an element of a page.

    Its colours become the page's variables, its fonts the page's own; its coordinates have a tenth
    of a pixel. See `number_ids` for its ids.

    Args:
        svg: The file.
        label: What is to be seen, for those who do not; '' for an ornament.
    """
    width, height = re.findall(r'viewBox="0 0 (\S+) ([^"\s]+)"', svg)[0]
    body = svg[svg.index(">", svg.index("<svg")) + 1 : svg.rindex("</svg>")]
    body = re.sub(
        r"<defs>\s*<style.*?</style>\s*</defs>|<metadata>.*?</metadata>", "", body, flags=re.S
    )
    body = re.sub(r" id=\"(?!m[0-9a-f]{10}|p[0-9a-f]{10})[^\"]*\"", "", body)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.S)
    body = re.sub(r"font(-family)?: [^;\"]*'[^;\"]*;?", "font-size: 10px;", body)
    body = PLACES.sub(lambda found: LONG.sub(lambda n: f"{float(n[0]):.1f}", found[0]), body)
    body = re.sub(r"\s+", " ", body).replace("> <", "><").replace(' "', '"')
    for number in range(SERIES):
        body = body.replace(colour(number), f"var(--s{number})")
    for stand_in, name in NAMES.items():
        body = body.replace(stand_in, f"var(--{name})")
    body = body.replace("#000000", "var(--ink)")
    seen = {"role": "img", "aria_label": label} if label else {"aria_hidden": "true"}
    return element(
        "svg", Html(body), class_="plot" if label else "swatch", viewBox=f"0 0 {width} {height}",
        **seen,
    )  # fmt: skip


def number_ids(page: Html) -> Html:
    """Give each figure of a page ids of its own: two alike would have the same from matplotlib."""
    count = itertools.count()

    def numbered(figure: re.Match[str]) -> str:
        return IDS.sub(rf"\g<1>f{next(count)}\g<2>", figure[0])

    return Html(re.sub(r"<svg .*?</svg>", numbered, page, flags=re.S))
