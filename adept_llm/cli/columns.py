"""Rows in columns on the terminal."""

from collections.abc import Sequence


def format_columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines with columns as wide as their widest cell; the first column is left-aligned."""
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
