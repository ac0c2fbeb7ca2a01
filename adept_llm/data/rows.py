"""Rows of data files, each with the place it comes from, so that mistakes can be found again."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

from adept_llm.data.json_lines import BLOCK, JsonLines, as_object, decode, objects, parse
from adept_llm.data.row import Listed, Row, Rows
from adept_llm.errors import InputError

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
MOST_CHARACTERS = 2**31 - 1  # of a field of CSV: of a C long on any machine; by default 131,072


def read_rows(path: Path) -> Rows:
    """Read a data file.

    Args:
        path: A .jsonl, .json (a list of objects), .csv or .parquet file.

    Returns:
        All rows, at least one. Those of .jsonl and .parquet are parsed when they are asked for,
        and a broken line is told of then.

    Raises:
        InputError: The file is missing, empty, of another kind or broken; says at which line.
    """
    check_file(path)
    reader = {".jsonl": JsonLines, ".json": _json, ".csv": _csv, ".parquet": Parquet}[path.suffix]
    try:
        rows = reader(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not len(rows):
        raise InputError(f"{path}: the file has no rows")
    return rows


def check_file(path: Path) -> None:
    """Refuse a data file that is missing, or of an unknown kind.

    Raises:
        InputError: naming it.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: unknown kind of file; known: {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")


def content_of(path: Path) -> str:
    """A hash of what a file holds, wherever it lies.

    Raises:
        InputError: It is missing or cannot be read.
    """
    check_file(path)
    digest = blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()


def read_stream(lines: Iterable[bytes], name: str) -> list[Row]:
    """Read JSONL that is no file.

    Args:
        lines: The lines.
        name: Of what they come from.

    Raises:
        InputError: There is no row, or one is broken; says at which line.
    """
    rows = list(objects(lines, name))
    if not rows:
        raise InputError(f"{name}: no row came; give one JSON object a line")
    return rows


def _json(path: Path) -> Rows:
    rows = parse(decode(path.read_bytes(), str(path)), str(path))
    if not isinstance(rows, list):
        raise InputError(f"{path}: must be a list of objects; for one object a line use .jsonl")
    found = []
    for number, values in enumerate(rows, 1):
        where = f"{path} row {number}"
        found.append(Row(where, f"{path.name}:{number}", as_object(values, where)))
    return Listed(found)


def _csv(path: Path) -> Rows:
    return Listed(list(_csv_rows(path)))


def _csv_rows(path: Path) -> Iterator[Row]:
    lines = io.StringIO(decode(path.read_bytes(), str(path)), newline="")
    csv.field_size_limit(MOST_CHARACTERS)
    reader = csv.reader(lines, strict=True)
    names: list[str] | None = None
    while True:
        number = reader.line_num + 1  # a quoted field may hold line breaks: count where it starts
        where = f"{path}:{number}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(f"{where}: broken CSV: {error}") from error
        if not cells:
            continue
        if names is None:
            names = cells
            if len(set(names)) < len(names):
                raise InputError(f"{where}: a column name occurs twice: {', '.join(names)}")
            continue
        if len(cells) != len(names):
            raise InputError(
                f"{where}: {len(cells)} fields, but the header has {len(names)}; "
                "put fields with commas or line breaks in double quotes"
            )
        yield Row(where, f"{path.name}:{number}", dict(zip(names, cells, strict=True)))


class Parquet(Rows):
    """The rows of a Parquet file; its table is in memory, in Arrow's form.

    Args:
        path: Of the file.

    Raises:
        InputError: It is broken.
        OSError: It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._length = len(self._table)

    def __len__(self) -> int:
        return self._length

    def __getstate__(self) -> dict[str, Any]:
        """All but the table."""
        return {"_path": self._path, "_length": self._length}

    @cached_property
    def _table(self) -> Any:
        import pyarrow
        from pyarrow import parquet

        try:
            return parquet.read_table(self._path)
        except pyarrow.ArrowException as error:
            line = " ".join(str(error).split())
            raise InputError(f"{self._path}: broken Parquet: {line}") from error

    def read(self, indices: Sequence[int]) -> list[Row]:
        """As `Rows.read`."""
        import pyarrow

        try:
            values = self._table.take(list(indices)).to_pylist()
        except UnicodeDecodeError as error:
            if len(indices) > 1:  # one by one, to name the row
                return [row for index in indices for row in self.read([index])]
            where = f"{self._path} row {indices[0] + 1}"
            raise InputError(f"{where}: {self._no_text(indices[0])}: not UTF-8") from error
        except pyarrow.ArrowException as error:
            line = " ".join(str(error).split())
            raise InputError(f"{self._path}: cannot be read: {line}") from error
        return [
            Row(f"{self._path} row {index + 1}", f"{self._path.name}:{index + 1}", each)
            for index, each in zip(indices, values, strict=True)
        ]

    def _no_text(self, index: int) -> str:
        """The columns of a row that hold no text."""
        found = []
        for name in self._table.column_names:
            try:
                self._table[name][index].as_py()
            except UnicodeDecodeError:
                found.append(f"column {name!r}")
        return ", ".join(found)
