"""HTML from elements: text is escaped, whatever a model or a row of data says."""

from collections.abc import Iterable, Sequence
from html import escape

VOID = frozenset({"meta", "col", "br"})


class Html(str):
    """Text that is HTML already; all other text is escaped."""

    __slots__ = ()


def join(parts: Iterable[str | None], between: str = "") -> Html:
    """Parts one after another; None is left out."""
    safe = (_safe(part) for part in parts if part is not None)
    return Html(_safe(between).join(safe))


def element(name: str, /, *children: str | None, **attributes: str | None) -> Html:
    """An element.

    Args:
        name: Of the element.
        children: Texts and elements; None is left out.
        attributes: Name -> value; None is left out, '' stands alone. An underscore at the end is
            dropped (`class_`), those inside are hyphens (`aria_label`).
    """
    words = [name]
    for key, value in attributes.items():
        if value is not None:
            key = key.rstrip("_").replace("_", "-")
            words.append(f'{key}="{escape(value)}"' if value else key)
    start = f"<{' '.join(words)}>"
    return Html(start if name in VOID else f"{start}{join(children)}</{name}>")


def _safe(text: str) -> str:
    return text if isinstance(text, Html) else escape(_printable(text))


def _printable(text: str) -> str:
    """Without characters that HTML does not allow; they show as a mark."""
    return "".join(
        c if c in "\n\t" or (c >= " " and not "\x7f" <= c <= "\x9f" and not _apart(c)) else "\ufffd"
        for c in text
    )


def _apart(c: str) -> bool:
    return "\ud800" <= c <= "\udfff" or ord(c) & 0xFFFE == 0xFFFE or "\ufdd0" <= c <= "\ufdef"


def table(
    caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], class_: str | None = None
) -> Html:
    """A table that scrolls in a box of its own; the first cell of a row is its header.

    Args:
        caption: Above it.
        head: Titles of the columns.
        rows: Cells as text, or as ready <td> or <th>.
        class_: Of the table.
    """
    top = element("tr", *(element("th", title, scope="col") for title in head))
    body = [element("tr", *(_cell(cell, i == 0) for i, cell in enumerate(row))) for row in rows]
    inner = element(
        "table",
        element("caption", caption),
        element("thead", top),
        element("tbody", *body),
        class_=class_,
    )
    # a box that scrolls must be reached by the keyboard, and so have a name
    return element("div", inner, class_="wide", tabindex="0", role="region", aria_label=caption)


def _cell(cell: str, first: bool) -> Html:
    if isinstance(cell, Html) and cell.startswith(("<td", "<th")):
        return cell
    return element("th", cell, scope="row") if first else element("td", cell)
