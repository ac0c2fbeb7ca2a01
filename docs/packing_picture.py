"""Draw docs/pictures/packing.svg: a padded and a packed micro-batch, and who sees whom.

python docs/packing_picture.py

The picture has colours for light and for dark readers; which it shows is the reader's own choice.
"""

from collections.abc import Iterator
from pathlib import Path

FILE = Path(__file__).parent / "pictures" / "packing.svg"
PROMPT, TEXTS = 4, (3, 6, 2, 5)
CELL, ROW, LEFT, WIDTH, HEIGHT = 26, 34, 20, 640, 960
STYLE = """
text { font: 22px system-ui, sans-serif; fill: #24292f }
.small { font-size: 17px }
.paper { fill: #fff } .pad { fill: #eef0f2; stroke: #c3c9d0 } .none { fill: #f4f5f6 }
.s0 { fill: #f2b24c } .s1 { fill: #5aa9e6 } .s2 { fill: #57b894 } .s3 { fill: #c58bd9 }
.s4 { fill: #e58a7b }
@media (prefers-color-scheme: dark) {
text { fill: #e6e8eb }
.paper { fill: #1c1f26 } .pad { fill: #2a2e37; stroke: #4a505c } .none { fill: #252932 }
.s0 { fill: #c98a1e } .s1 { fill: #3d84bd } .s2 { fill: #3a8f6f } .s3 { fill: #9763ab }
.s4 { fill: #b9614f }
}
"""
NAMES = ("P", "x₁", "x₂", "x₃", "x₄")


def main() -> None:
    """Write the file."""
    FILE.write_text(picture(), "utf-8")


def picture() -> str:
    """The whole file."""
    longest, texts = max(TEXTS), sum(TEXTS)
    padded, packed = len(TEXTS) * (PROMPT + longest), PROMPT + texts
    told = (
        f"Four texts as a padded batch of {padded} places, as one packed row of {packed}, and "
        "which tokens of that row see which: each text sees the prompt and itself"
    )
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{told}">'
    )
    parts = [
        f"<title>{told}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}" rx="8"/>',
        text(LEFT, 40, f"padded: 4 × ({PROMPT} + {longest}) = {padded} places, P four times"),
        *batch(60),
        text(
            LEFT, 262, f"packed: {PROMPT} + {' + '.join(map(str, TEXTS))} = {packed} places, P once"
        ),
        *row(280),
        text(LEFT, 376, "who sees whom in the packed row"),
        *mask(400),
    ]
    return "\n".join([head, *parts, "</svg>"]) + "\n"


def batch(top: int) -> Iterator[str]:
    """A row for each text: the padding, P, the text."""
    longest = max(TEXTS)
    for number, length in enumerate(TEXTS, 1):
        kinds = ["pad"] * (longest - length) + ["s0"] * PROMPT + [f"s{number}"] * length
        y = top + (number - 1) * (ROW + 6)
        yield from cells(LEFT, y, kinds)
        yield text(LEFT + len(kinds) * CELL + 12, y + 24, f"[pad ..][P][{NAMES[number]}]", "small")


def row(top: int) -> Iterator[str]:
    """All of them in one, and each token's position."""
    kinds = [f"s{one}" for one in segments()]
    yield from cells(LEFT, top, kinds)
    where = [*range(PROMPT), *(PROMPT + i for length in TEXTS for i in range(length))]
    for place, position in enumerate(where):
        yield text(LEFT + place * CELL + CELL // 2, top + ROW + 22, str(position), "small", True)
    yield text(LEFT + len(kinds) * CELL + 8, top + ROW + 22, "position", "small")


def mask(top: int) -> Iterator[str]:
    """A square of who sees whom: queries down, keys across."""
    owner, size, left = segments(), 24, 80
    for query, mine in enumerate(owner):
        for key, theirs in enumerate(owner):
            seen = key <= query and theirs in (0, mine)
            kind = f"s{theirs}" if seen else "none"
            yield (
                f'<rect class="{kind}" x="{left + key * size}" y="{top + 24 + query * size}" '
                f'width="{size - 1}" height="{size - 1}"/>'
            )
    start = 0
    for name, length in zip(NAMES, (PROMPT, *TEXTS), strict=True):
        middle = (start + length / 2) * size
        yield text(left + middle, top + 16, name, "", True)
        yield text(left - 28, top + 24 + middle + 7, name, "", True)
        start += length
    yield text(left, top + 24 + len(owner) * size + 26, "a row: what this token sees", "small")


def segments() -> list[int]:
    """Of each token of the packed row: 0 for P, 1.. for the texts."""
    return [0] * PROMPT + [n for n, length in enumerate(TEXTS, 1) for _ in range(length)]


def cells(left: int, top: int, kinds: list[str]) -> Iterator[str]:
    """Boxes side by side."""
    for place, kind in enumerate(kinds):
        yield (
            f'<rect class="{kind}" x="{left + place * CELL}" y="{top}" '
            f'width="{CELL - 2}" height="{ROW}" rx="3"/>'
        )


def text(x: float, y: float, words: str, kind: str = "", middle: bool = False) -> str:
    """A line of words."""
    anchor = ' text-anchor="middle"' if middle else ""
    name = f' class="{kind}"' if kind else ""
    return f'<text{name} x="{x:g}" y="{y:g}"{anchor}>{words}</text>'


if __name__ == "__main__":
    main()
