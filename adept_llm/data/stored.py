"""Encoded examples in Arrow's form, in memory or mapped from a file, with what is known of them."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from adept_llm.data.encoded import Encoded, Report
from adept_llm.data.source import parts

if TYPE_CHECKING:
    from datasets import Dataset
    from pyarrow import RecordBatch, Schema


@dataclass(frozen=True)
class About:
    """What is known of a set of encoded examples, without reading them.

    Attributes:
        report: What became of the examples.
        texts: Fingerprint of the examples, see `data.fingerprint`.
        ids: Fingerprint of the encoded ones, see `Encoded.content`.
        largest_id: The largest token id.
        labels: Those of the first example.
        alike: Whether all examples have the same labels.
        answers: What the answers are taken for, see `describe_answers`.
        form: That of all examples, see `Example.form`; '' where they differ.
    """

    report: Report
    texts: str
    ids: str
    largest_id: int
    labels: tuple[str, ...]
    alike: bool
    answers: str
    form: str

    def to_json(self) -> dict[str, Any]:
        """Of types that JSON knows."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "About":
        """Read again what `to_json` gave.

        Raises:
            TypeError, KeyError: It gave something else.
        """
        report = found["report"]
        report = Report(**{**report, "first_dropped": tuple(report["first_dropped"])})
        return cls(**{**found, "report": report, "labels": tuple(found["labels"])})


class Stored(Sequence[Encoded]):
    """Encoded examples that are made into objects when they are asked for.

    Args:
        rows: Of the columns of `columns`.
        about: What is known of them.
    """

    def __init__(self, rows: "Dataset", about: About) -> None:
        self._rows = rows
        self.about = about

    def __len__(self) -> int:
        """Number of examples."""
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        """One example, or those of a slice."""
        if isinstance(index, slice):
            return self.take(range(*index.indices(len(self))))
        return self.take([range(len(self))[index]])[0]

    def __iter__(self) -> Iterator[Encoded]:
        """All examples, a part at a time."""
        for part in parts(len(self)):
            yield from self.take(part)

    def take(self, indices: Sequence[int]) -> list[Encoded]:
        """Some examples at once, which is quicker than one by one."""
        found = self._rows[indices if isinstance(indices, range) else list(indices)]
        return [_encoded(*values) for values in zip(*(found[n] for n in _NAMES), strict=True)]

    @cached_property
    def lengths(self) -> "array[int]":
        """Tokens of prompt and target of each example, 4 bytes each."""
        from pyarrow import compute

        column = compute.list_value_length(self._rows.data.column("ids"))
        return array("i", column.to_numpy().astype("int32").tobytes())


def token_counts(examples: Sequence[Encoded]) -> Sequence[int]:
    """Tokens of prompt and target of each example."""
    if isinstance(examples, Stored):
        return examples.lengths
    return [len(one.prompt_ids) + len(one.target_ids) for one in examples]


def taken(examples: Sequence[Any], indices: Sequence[int]) -> list[Any]:
    """Some of the examples at once."""
    if isinstance(examples, Stored):
        return examples.take(indices)
    return [examples[index] for index in indices]


_NAMES = ("ids", "prompt", "id", "label", "truncated", "passed_over")


def schema() -> "Schema":
    """The columns: all ids of an example and how many of them are the prompt's; spans flat."""
    import pyarrow as pa

    ids, number = pa.list_(pa.int32()), pa.int32()
    kinds = (ids, number, pa.string(), number, number, ids)
    return pa.schema(list(zip(_NAMES, kinds, strict=True)))


def columns(examples: Sequence[Encoded]) -> "RecordBatch":
    """Examples in Arrow's form."""
    import pyarrow as pa

    values = (
        [one.prompt_ids + one.target_ids for one in examples],
        [len(one.prompt_ids) for one in examples],
        [one.id for one in examples],
        [one.label for one in examples],
        [one.truncated for one in examples],
        [[place for span in one.passed_over for place in span] for one in examples],
    )
    kinds = schema()
    arrays = [pa.array(each, kind.type) for each, kind in zip(values, kinds, strict=True)]
    return pa.record_batch(arrays, schema=kinds)


def _encoded(
    ids: list[int], prompt: int, name: str, label: int, truncated: int, places: list[int]
) -> Encoded:
    spans = tuple(zip(places[::2], places[1::2], strict=True))
    return Encoded(ids[:prompt], ids[prompt:], name, label, truncated, spans)
