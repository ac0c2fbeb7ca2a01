"""A row of a data file, and many of them, read when they are asked for."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

CHUNK = 1000  # rows read, and tokenised, at once


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


class Rows(Sequence[Row]):
    """Rows by their number; can be pickled, for other processes to read them."""

    @abstractmethod
    def read(self, indices: Sequence[int]) -> list[Row]:
        """Some of the rows, in the order of their numbers as given.

        Raises:
            InputError: One of them is broken; says where.
        """

    def __getitem__(self, index: Any) -> Any:
        """One row, or those of a slice."""
        if isinstance(index, slice):
            return self.read(range(*index.indices(len(self))))
        return self.read([range(len(self))[index]])[0]

    def __iter__(self) -> Iterator[Row]:
        """All rows, a chunk at a time."""
        for start in range(0, len(self), CHUNK):
            yield from self.read(range(start, min(start + CHUNK, len(self))))


class Listed(Rows):
    """Rows that are in memory."""

    def __init__(self, rows: list[Row]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, indices: Sequence[int]) -> list[Row]:
        """As `Rows.read`."""
        return [self._rows[index] for index in indices]
