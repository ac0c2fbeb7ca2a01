"""Rows of data files, each with the place it comes from, so that mistakes can be found again."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from adept_llm.errors import InputError

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")


class Row(NamedTuple):
    """One row of a file or a hub split.

    Attributes:
        where: For messages: 'data/train.jsonl:17' by line, or 'data/train.parquet row 17'; both
            count from 1.
        id: For reports: 'train.jsonl:17'.
        values: The columns.
    """

    where: str
    id: str
    values: dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """Read a data file.

    Args:
        path: A .jsonl, .json (a list of objects), .csv or .parquet file.

    Returns:
        All rows, at least one.

    Raises:
        InputError: The file is missing, empty, of another kind or broken; says at which line.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: unknown kind of file; known: {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    reader = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".parquet": _parquet}[path.suffix]
    try:
        rows = list(reader(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not rows:
        raise InputError(f"{path}: the file has no rows")
    return rows


def read_stream(lines: Iterable[bytes], name: str) -> list[Row]:
    """Read JSONL that is no file.

    Args:
        lines: The lines.
        name: Of what they come from.

    Raises:
        InputError: There is no row, or one is broken; says at which line.
    """
    rows = list(_objects(lines, name, name))
    if not rows:
        raise InputError(f"{name}: no row came; give one JSON object a line")
    return rows


def _jsonl(path: Path) -> Iterator[Row]:
    # Read as bytes: str.splitlines would also split at U+2028, which JSON allows within a string.
    with path.open("rb") as file:
        yield from _objects(file, str(path), path.name)


def _objects(lines: Iterable[bytes], place: str, name: str) -> Iterator[Row]:
    for number, raw in enumerate(lines, 1):
        where = f"{place}:{number}"
        line = _decode(raw, where).strip()
        if line:
            yield Row(where, f"{name}:{number}", _object(_parse(line, where), where))


def _json(path: Path) -> Iterator[Row]:
    rows = _parse(_decode(path.read_bytes(), str(path)), str(path))
    if not isinstance(rows, list):
        raise InputError(f"{path}: must be a list of objects; for one object a line use .jsonl")
    for number, values in enumerate(rows, 1):
        where = f"{path} row {number}"
        yield Row(where, f"{path.name}:{number}", _object(values, where))


def _csv(path: Path) -> Iterator[Row]:
    lines = io.StringIO(_decode(path.read_bytes(), str(path)), newline="")
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


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        rows = parquet.read_table(path).to_pylist()
    except pyarrow.ArrowException as error:
        line = " ".join(str(error).split())
        raise InputError(f"{path}: broken Parquet: {line}") from error
    for number, values in enumerate(rows, 1):
        yield Row(f"{path} row {number}", f"{path.name}:{number}", values)


def _decode(raw: bytes, where: str) -> str:
    try:
        return raw.decode("utf-8-sig")  # Excel puts a byte order mark in front
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start)
        place = f"{where}:{line + 1}" if b"\n" in raw[:-1] else where
        raise InputError(f"{place}: not UTF-8; save the file as UTF-8") from error


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{where}:{error.lineno}" if error.lineno > 1 else where
        raise InputError(f"{place}: broken JSON: {error.msg} (column {error.colno})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: broken JSON: {error}") from error


def _object(values: object, where: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise InputError(f"{where}: must be a JSON object, not {type(values).__name__}")
    return values
