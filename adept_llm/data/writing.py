"""Examples are encoded part by part, and written down together with what is known of all."""

from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING

from adept_llm.data.encoded import Tally
from adept_llm.data.encoding import Encoder
from adept_llm.data.example import Example, content
from adept_llm.data.labels import Answers
from adept_llm.data.processes import spread
from adept_llm.data.source import Examples, parts
from adept_llm.data.stored import About, columns, schema

if TYPE_CHECKING:
    from pyarrow import NativeFile, RecordBatch


def write_encoded(encoder: Encoder, examples: Examples, sink: "NativeFile") -> About:
    """Encode examples, by several processes where it pays, into Arrow's form of a stream.

    Args:
        encoder: With the template, the length and the loss.
        examples: What to encode.
        sink: What is written to.

    Returns:
        What is known of them.

    Raises:
        InputError: A row is broken, nothing fits, or as `Encoder.encode`.
        OSError: The sink cannot be written.
    """
    from pyarrow import ipc

    tally, answers, texts, ids, largest = Tally(), Answers(), sha256(), sha256(), -1
    ends: list[int] = []
    forms: set[str] = set()
    cut = parts(len(examples))
    with ipc.new_stream(sink, schema()) as writer:
        for part in spread(partial(_part, encoder, examples), cut):
            writer.write_batch(part.batch)
            tally.add(part.tally)
            answers.add(part.answers)
            texts.update(part.texts)
            ids.update(part.ids)
            largest = max(largest, part.largest_id)
            forms |= part.forms
            ends.append(len(answers))
    return About(
        report=encoder.report(tally),
        texts=texts.hexdigest()[:12],
        ids=ids.hexdigest()[:12],
        largest_id=largest,
        labels=answers.labels,
        alike=answers.alike,
        answers=answers.describe(partial(_example, examples, cut, ends)),
        form=forms.pop() if len(forms) == 1 else "",
    )


@dataclass(frozen=True)
class _Part:
    """A part of the examples, encoded, with all that is to be known of it."""

    batch: "RecordBatch"
    tally: Tally
    answers: Answers
    texts: bytes
    ids: bytes
    largest_id: int
    forms: frozenset[str]


def _part(encoder: Encoder, examples: Examples, part: range) -> _Part:
    tally = Tally()
    rows = examples.read(part)
    encoded = encoder.encode_part(rows, tally) if rows else []
    batch = columns(encoded)
    ids = batch.column("ids").flatten().to_numpy()
    return _Part(
        batch,
        tally,
        Answers(rows),
        b"".join(map(content, rows)),
        b"".join(one.content() for one in encoded),
        int(ids.max(initial=-1)),
        frozenset(row.form for row in rows),
    )


def _example(examples: Examples, cut: list[range], ends: list[int], number: int) -> Example:
    """One example by its number; `ends` counts those that the parts made."""
    place = next(n for n, end in enumerate(ends) if number < end)
    return examples.read(cut[place])[number - (ends[place - 1] if place else 0)]
