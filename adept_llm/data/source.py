"""Where examples come from, and how they are read: a part at a time, in whichever process."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from adept_llm.data.example import Example
from adept_llm.data.row import CHUNK, Row, Rows


class Examples(Protocol):
    """Examples that are read when they are asked for."""

    def __len__(self) -> int:
        """Number of rows that they are made of."""

    def read(self, part: range) -> list[Example]:
        """Those of some of the rows, in order; a row may be passed over.

        Raises:
            InputError: A row is broken; says where.
        """


class Source(Protocol):
    """What examples come from, told before it is read."""

    def key(self) -> dict[str, Any] | None:
        """All that decides the examples, of types that JSON knows; None where that is not known.

        Raises:
            InputError: Their file is missing or cannot be read.
        """

    def open(self) -> Examples:
        """The examples.

        Raises:
            InputError: There are none, or what they come from is broken.
        """


@dataclass(frozen=True)
class Ready:
    """Examples that are in memory."""

    examples: Sequence[Example]

    def __len__(self) -> int:
        """Their number."""
        return len(self.examples)

    def read(self, part: range) -> list[Example]:
        """Some of them."""
        return list(self.examples[part.start : part.stop])


@dataclass(frozen=True)
class FromRows:
    """Examples made of rows.

    Attributes:
        rows: All rows there are.
        chosen: Numbers of those that are used.
        make: Makes an example of a row, or None of one to pass over.
    """

    rows: Rows
    chosen: Sequence[int]
    make: Callable[[Row], Example | None]

    def __len__(self) -> int:
        """Number of chosen rows."""
        return len(self.chosen)

    def read(self, part: range) -> list[Example]:
        """As `Examples.read`."""
        made = map(self.make, self.rows.read(self.chosen[part.start : part.stop]))
        return [example for example in made if example is not None]


def each(examples: Examples) -> Iterator[Example]:
    """All examples, read a part at a time."""
    for part in parts(len(examples)):
        yield from examples.read(part)


def parts(total: int, size: int = CHUNK) -> list[range]:
    """So many rows cut into parts."""
    return [range(start, min(start + size, total)) for start in range(0, total, size)]
