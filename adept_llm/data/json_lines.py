"""JSON objects, one a line; of a file it is known where lines begin, and a line is read when asked.

So a million rows take 16 bytes each, and a process that needs a thousand of them parses a thousand.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from adept_llm.data.row import Row, Rows
from adept_llm.errors import InputError

if TYPE_CHECKING:
    import numpy as np

BLOCK = 1 << 22
LINE_BREAK = 10
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
SPACE = bytes(chr(byte).isspace() and byte < 128 for byte in range(256))


class JsonLines(Rows):
    """The rows of a .jsonl file; blank lines are none.

    Args:
        path: Of the file.

    Raises:
        OSError: It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        """Find out where lines begin."""
        self._path, self._name = path, path.name
        self._file: BinaryIO | None = None
        self._bounds, self._lines = _scan(path)

    def __len__(self) -> int:
        return len(self._lines)

    def __getstate__(self) -> dict[str, Any]:
        """All but the open file."""
        return {**self.__dict__, "_file": None}

    def read(self, indices: Sequence[int]) -> list[Row]:
        """As `Rows.read`."""
        try:
            self._file = self._file or self._path.open("rb")
            return [self._row(self._file, int(self._lines[index])) for index in indices]
        except OSError as error:
            raise InputError(f"{self._path}: cannot be read: {error.strerror or error}") from error

    def _row(self, file: BinaryIO, line: int) -> Row:
        start, end = int(self._bounds[line]), int(self._bounds[line + 1])
        file.seek(start)
        return _row(file.read(end - start), f"{self._path}:{line + 1}", f"{self._name}:{line + 1}")


def objects(lines: Iterable[bytes], name: str) -> Iterator[Row]:
    """The rows of lines that are no file.

    Raises:
        InputError: One is broken; says which line.
    """
    for number, raw in enumerate(lines, 1):
        if raw.strip() not in (b"", BYTE_ORDER_MARK):
            yield _row(raw, f"{name}:{number}", f"{name}:{number}")


def decode(raw: bytes, where: str) -> str:
    """Text of bytes, without a byte order mark.

    Raises:
        InputError: It is not UTF-8; says at which line.
    """
    try:
        return raw.removeprefix(BYTE_ORDER_MARK).decode()  # Excel puts it in front
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start)
        place = f"{where}:{line + 1}" if b"\n" in raw[:-1] else where
        raise InputError(f"{place}: not UTF-8; save the file as UTF-8") from error


def parse(text: str, where: str) -> Any:
    """What a JSON text says.

    Raises:
        InputError: It is broken; says at which line.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{where}:{error.lineno}" if error.lineno > 1 else where
        raise InputError(f"{place}: broken JSON: {error.msg} (column {error.colno})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: broken JSON: {error}") from error


def as_object(values: object, where: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        InputError: It is something else.
    """
    if not isinstance(values, dict):
        raise InputError(f"{where}: must be a JSON object, not {type(values).__name__}")
    return values


def _row(raw: bytes, where: str, name: str) -> Row:
    return Row(where, name, as_object(parse(decode(raw, where).strip(), where), where))


def _scan(path: Path) -> "tuple[np.ndarray, np.ndarray]":
    """Where lines begin, and the file's end; and the numbers of those that are not blank, from 0.

    Bytes, not text: str.splitlines would also split at U+2028, which JSON allows within a string.
    """
    import numpy as np  # not where a task is declared: `import adept_llm` is quick

    bounds, filled, place = [np.zeros(1, dtype=np.int64)], [], 0
    with path.open("rb") as file:
        while block := file.read(BLOCK) + file.readline():
            content = np.frombuffer(block, dtype=np.uint8)
            ends = np.flatnonzero(content == LINE_BREAK) + 1
            if not len(ends) or ends[-1] < len(content):
                ends = np.append(ends, len(content))
            starts = np.concatenate([[0], ends[:-1]])
            spaces = np.frombuffer(block.translate(SPACE), dtype=np.uint8)
            blank = np.minimum.reduceat(spaces, starts).astype(bool)
            if not place and block.startswith(BYTE_ORDER_MARK):
                blank[0] = block[: ends[0]].removeprefix(BYTE_ORDER_MARK).strip() == b""
            bounds.append(ends + place)
            filled.append(~blank)
            place += len(content)
    lines = np.flatnonzero(np.concatenate(filled)) if filled else np.zeros(0, dtype=np.int64)
    return np.concatenate(bounds), lines
