r"""The user's own data: instructions, prompts or conversations with their answers.

A file has one of three sets of columns, and no other column::

    {"instruction": "Translate into French.", "input": "the cat", "output": "le chat"}
    {"prompt": "the cat in French:", "completion": "le chat"}
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]}

`input` may be missing, empty or null. Numbers and booleans are read as text, as they are from CSV.
"""

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from adept_llm.data.example import Example
from adept_llm.data.labels import label_set
from adept_llm.data.row import Row
from adept_llm.data.rows import content_of, read_rows, read_stream
from adept_llm.data.sampling import sample
from adept_llm.data.source import FromRows, each
from adept_llm.errors import InputError

COLUMN_SETS = (("instruction", "input", "output"), ("prompt", "completion"), ("messages",))
STANDARD_INPUT = "-"
ROLES = ("system", "user", "assistant")


def read_instructions(path: str | Path) -> list[Example]:
    """Read a file of instructions.

    Args:
        path: A .jsonl, .json (a list of objects), .csv or .parquet file.

    Returns:
        One example per row, in the file's order, with ids such as 'train.jsonl:17'.

    Raises:
        InputError: The file or one of its rows is malformed; names file, line and field.
    """
    rows = read_rows(Path(path))
    return list(map(_maker(rows[0]), rows))


class Request(NamedTuple):
    """A row to answer.

    Attributes:
        example: The row; its target stands for nothing.
        adapter: Whom it asks, if it says so.
        where: For messages.
    """

    example: Example
    adapter: str | None
    where: str


def read_requests(path: str | Path) -> list[Request]:
    """Read rows to answer, which may name an adapter in a column of that name.

    Args:
        path: As for `read_instructions`, answers may be missing; '-' for JSONL on standard input.

    Raises:
        InputError: The file or one of its rows is malformed; names file, line and field.
    """
    standard = str(path) == STANDARD_INPUT
    rows = read_stream(sys.stdin.buffer, "stdin") if standard else list(read_rows(Path(path)))
    bare = [
        row._replace(values={name: row.values[name] for name in row.values if name != "adapter"})
        for row in rows
    ]
    return [
        Request(example, _filled(row, "adapter") if "adapter" in row.values else None, row.where)
        for example, row in zip(_unanswered_examples(bare), rows, strict=True)
    ]


@dataclass(frozen=True)
class OwnRows:
    """A random sample of the rows of the user's own file, in their order; see `Source`.

    Attributes:
        path: As for `read_instructions`.
        labels: What the model was trained to tell apart, () for free text; None finds it in the
            rows, also those that are not drawn.
        limit: Most rows of the sample; None takes all.
        seed: Fixes the sample.
    """

    path: Path
    labels: tuple[str, ...] | None = None
    limit: int | None = None
    seed: int = 0

    def key(self) -> dict[str, Any]:
        """All that decides the examples."""
        drawn = None if self.limit is None else [self.limit, self.seed]
        given = {"name": self.path.name, "labels": self.labels, "drawn": drawn}
        return {**given, "content": content_of(self.path)}

    def size(self) -> int:
        """Number of rows that are drawn."""
        total = len(read_rows(self.path))
        return total if self.limit is None else min(total, self.limit)

    def open(self) -> FromRows:
        """The examples.

        Raises:
            InputError: The file is missing or malformed, a label has several spellings, or the
                limit is below 1.
        """
        rows = read_rows(self.path)
        make = _maker(rows[0])
        words = label_set(map(make, rows)) if self.labels is None else self.labels
        chosen = sample(len(rows), self.limit, self.seed)
        return FromRows(rows, chosen, partial(_labelled, make, words))


def own_examples(
    path: str, labels: Sequence[str] | None, limit: int | None, seed: int
) -> list[Example]:
    """The examples of `OwnRows`.

    Raises:
        InputError: for a file that is missing or malformed, a target that is not a label, or a
            limit below 1.
    """
    words = None if labels is None else tuple(labels)
    return list(each(OwnRows(Path(path), words, limit, seed).open()))


def _maker(first: Row) -> Callable[[Row], Example]:
    """Makes examples of the rows of a file that begins so."""
    return partial(_example, _column_set(first))


def _example(columns: tuple[str, ...], row: Row) -> Example:
    if unknown := sorted(row.values.keys() - set(columns)):
        raise InputError(
            f"{row.where}: unknown column {unknown[0]!r} beside {', '.join(columns)}; remove it"
        )
    make = {"output": _from_instruction, "completion": _from_prompt, "messages": _from_messages}
    return make[columns[-1]](row)


def _labelled(make: Callable[[Row], Example], words: tuple[str, ...], row: Row) -> Example:
    return replace(make(row), labels=words) if words else make(row)


def _unanswered_examples(rows: Sequence[Row]) -> Iterator[Example]:
    columns = _column_set(rows[0])
    return (_example(columns, _unanswered(row, columns[-1])) for row in rows)


def _unanswered(row: Row, column: str) -> Row:
    """The row with an answer that stands for nothing, in place of its own or of none."""
    answer: Any = "?"
    if column == "messages":
        said = row.values.get(column)
        if not isinstance(said, list) or not said:
            return row  # refused by the reader
        answered = isinstance(said[-1], dict) and said[-1].get("role") == "assistant"
        answer = [*said[: len(said) - answered], {"role": "assistant", "content": answer}]
    return row._replace(values={**row.values, column: answer})


def _column_set(row: Row) -> tuple[str, ...]:
    """The set of columns that a file's first row is meant to have."""
    for columns in COLUMN_SETS:
        if columns[0] in row.values:
            return columns
    known = " or ".join(", ".join(columns) for columns in COLUMN_SETS)
    found = ", ".join(row.values) or "none"
    raise InputError(
        f"{row.where}: unknown columns: {found}; known: {known} (input may be left out)"
    )


def _from_instruction(row: Row) -> Example:
    context = "" if row.values.get("input") is None else _text(row, "input")
    return Example(_filled(row, "instruction"), context, _filled(row, "output"), id=row.id)


def _from_prompt(row: Row) -> Example:
    return Example("", _filled(row, "prompt"), _filled(row, "completion"), id=row.id)


def _from_messages(row: Row) -> Example:
    said = row.values.get("messages")
    if not isinstance(said, list) or not said:
        raise InputError(f"{row.where}: field 'messages' must be a list of messages")
    turns = [_message(row, number, message) for number, message in enumerate(said, 1)]
    if turns[-1][0] != "assistant":
        raise InputError(f"{row.where}: the last message must be the assistant's: it is the target")
    # Chat templates insist on turns that alternate; most fail on others without saying where.
    dialogue = [role for role, _ in turns if role != "system"]
    if dialogue != ["user", "assistant"] * (len(dialogue) // 2):
        raise InputError(f"{row.where}: user and assistant must take turns, the user first")
    if any(role == "system" for role, _ in turns[1:]):
        raise InputError(f"{row.where}: only the first message may be the system's")
    *before, (_, target) = turns
    if len(before) == 1:
        return Example(before[0][1], "", target, id=row.id)
    return Example("", "", target, id=row.id, messages=tuple(before))


def _message(row: Row, number: int, message: object) -> tuple[str, str]:
    where = f"{row.where}: message {number}"
    if not isinstance(message, dict) or message.keys() != {"role", "content"}:
        raise InputError(f"{where} must have exactly the fields role and content")
    role, content = message["role"], message["content"]
    if role not in ROLES:
        raise InputError(f"{where} has the unknown role {role!r}; known: {', '.join(ROLES)}")
    if not isinstance(content, str):
        raise InputError(f"{where}: content must be a string, not {type(content).__name__}")
    if not content.strip():
        raise InputError(f"{where}: content is empty")
    return role, content


def _text(row: Row, field: str) -> str:
    if field not in row.values:
        found = ", ".join(row.values) or "none"
        raise InputError(f"{row.where}: field {field!r} is missing; fields there: {found}")
    value = row.values[field]
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{row.where}: field {field!r} is {value}; fill it or remove the row")
    if isinstance(value, bool | int | float):
        value = json.dumps(value)  # as it stands in a JSON file, and would stand in CSV
    if not isinstance(value, str):
        raise InputError(f"{row.where}: field {field!r} must be a string, not {_kind(value)}")
    return value


def _filled(row: Row, field: str) -> str:
    value = _text(row, field)
    if not value.strip():
        raise InputError(f"{row.where}: field {field!r} is empty; fill it or remove the row")
    return value


def _kind(value: object) -> str:
    return "null" if value is None else type(value).__name__
