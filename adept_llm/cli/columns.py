"""Rows in columns: drawn by rich on a terminal, plain text in a file or a pipe."""

import io
import shutil
import sys
from collections.abc import Sequence


def format_columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines with columns as wide as their widest cell; the first column is left-aligned."""
    return drawn(header, rows) if sys.stdout.isatty() else plain(header, rows)


def drawn(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """With rules and colours, in the width of the terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for place, name in enumerate(header):
        table.add_column(Text(name), justify="right" if place else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # text, or [..] would be taken for markup
    told = io.StringIO()
    width = shutil.get_terminal_size().columns
    Console(file=told, force_terminal=True, width=width).print(table)
    return told.getvalue().rstrip("\n")


def plain(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """With a line of hyphens under the header."""
    cells = [list(header), *map(list, rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = [
        "  ".join(
            c.ljust(w) if i == 0 else c.rjust(w)
            for i, (c, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def print_columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print `format_columns`."""
    print(format_columns(header, rows))
