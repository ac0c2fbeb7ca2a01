"""A benchmark task, declared: where its rows are and how a row becomes an example."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from string import Formatter
from typing import Any, NamedTuple

from adept_llm.data.example import Example
from adept_llm.data.row import Row
from adept_llm.errors import InputError
from adept_llm.tasks.splits import Part, Splits

Columns = Mapping[str, Any]
Span = tuple[int, int]


@dataclass(frozen=True)
class Reference:
    """How the papers write a task for T5: one line of 'name: text' pairs and a digit as label.

    Or how PEFT's comparison of methods writes its own.

    Attributes:
        layout: Format string over the columns, the task's name included.
        labels: The label words in the order of the task's; by default '0', '1', ..
        instead: Columns that take the place of the task's context, target and answers.
        derive: Computes more columns for this form alone.
        gap: White space between the prompt and free text that answers it.
    """

    layout: str
    labels: tuple[str, ...] = ()
    instead: Mapping[str, str] = field(default_factory=dict)
    derive: Callable[[Columns], Columns] | None = None
    gap: str | None = None


@dataclass(frozen=True)
class Task:
    """A benchmark task on the Hugging Face hub.

    All texts are format strings over the columns, and may use what `derive` adds to them.

    Example, a row of SST-2 and what becomes of it::

        {"sentence": "a joy to watch ", "label": 1, "idx": 7}

        Example(
            instruction="Is the sentiment of this sentence negative or positive?",
            input="a joy to watch ",
            target="positive",
            labels=("negative", "positive"),
            id="sst2/train/7",
        )

    Attributes:
        name: Name in the registry.
        path: The data set's name on the hub; it must be stored there as Parquet.
        config: Its configuration, or None.
        revision: The commit that is read, so that results can be repeated.
        splits: Which part of which hub split is 'train', 'validation' and 'test'.
        measured_on: The task whose rows validate and test, if they are another data set's; `splits`
            then has 'train' alone. In a data folder they lie in a folder of that task's name.
        columns: The hub's columns that are needed.
        instruction: What to do.
        layout: The input.
        target: The column with the label or with the free text to learn.
        metrics: Names of the metrics (see `adept_llm.evaluation.metrics`), the main one first.
        labels: For classification: the label word for each value of the target column. A word such
            as '{option1}' is the text of that column.
        context: The column of the layout that may be shortened; by default none: an example that is
            too long is dropped.
        answers: The column with what a prediction is compared with, if it is not the target: a list
            or one value.
        group: Examples with the same text here count as one for metrics of groups, and stay
            together where a split is halved; a format string over the hub's columns.
        derive: Computes more columns from a row's.
        keep: Tells rows to use from those to pass over, such as ones without an answer.
        reference: The papers' form, if the task is one of theirs.
        max_length: Tokens of prompt and target: the smallest power of two that holds 95 % of the
            examples, or all of them where nothing may be shortened.
        max_new_tokens: Most tokens of a generated answer; label tasks generate none.
    """

    name: str
    path: str
    config: str | None
    revision: str
    splits: Splits
    columns: tuple[str, ...]
    instruction: str
    layout: str
    target: str
    metrics: tuple[str, ...]
    labels: Mapping[int | str, str] = field(default_factory=dict)
    context: str = ""
    answers: str = ""
    group: str = ""
    derive: Callable[[Columns], Columns] | None = None
    keep: Callable[[Columns], bool] | None = None
    reference: Reference | None = None
    max_length: int = 256
    max_new_tokens: int = 32
    measured_on: "Task | None" = None

    def __post_init__(self) -> None:
        """Check that the declaration agrees with itself."""
        texts = (self.instruction, self.layout, self.group, *self.labels.values())
        used = {_column(name) for text in texts for name in _fields(text)}
        used |= {name for name in (self.target, self.context, self.answers) if name}
        if not self.derive and not used <= set(self.columns):
            unnamed = ", ".join(sorted(used - set(self.columns)))
            raise ValueError(f"task {self.name}: columns lacks {unnamed}")
        if len(set(self.labels.values())) < len(self.labels):
            raise ValueError(f"task {self.name}: two label values have the same word")
        if self.context and self.context not in _fields(self.layout):
            raise ValueError(f"task {self.name}: the layout lacks its context, {self.context}")
        for name in ("instruction", "layout", "target", "metrics", "splits", "revision"):
            if not getattr(self, name):
                raise ValueError(f"task {self.name}: {name} is empty")

    @property
    def all_splits(self) -> "Mapping[str, tuple[Task, Part]]":
        """For each split the task whose rows it has, and which part of them."""
        own = {name: (self, part) for name, part in self.splits.items()}
        return {**self.measured_on.all_splits, **own} if self.measured_on else own

    def example(self, row: Row, reference: bool = False) -> Example:
        """Make an example of a row.

        Args:
            row: A row with the hub's columns.
            reference: Write it as the papers do, rather than as an instruction.

        Returns:
            The example, with the row's id.

        Raises:
            InputError: A column is missing or null, the label's value is unknown, or the papers
                have no form for this task.
        """
        if reference and not self.reference:
            raise InputError(
                f"the papers' code has no form for task {self.name}: use another --template"
            )
        self.check_columns(row)
        for column in self.columns:
            if row.values[column] is None:
                raise InputError(
                    f"{row.where}: column {column!r} is null; fill it or remove the row"
                )
        try:
            form = (reference and self.reference) or Reference(self.layout)
            values = dict(row.values)
            for derive in filter(None, (self.derive, form.derive)):
                values |= derive(values)
            context, target, answers = (
                form.instead.get(name, name) for name in (self.context, self.target, self.answers)
            )
            filled = _fill(form.layout, values)
            labels = self._labels(values, reference)
            answer = _label(row, target, values[target], labels) if labels else str(values[target])
            return Example(
                "" if reference else self.instruction.format(**values),
                filled.text,
                answer,
                id=row.id,
                labels=tuple(labels.values()),
                context=filled.spans.get(context, (0, 0)),
                focus=None if labels else filled.find(answer, context),
                answers=_texts(values[answers]) if answers else (),
                group=self.group.format(**values),
                gap=form.gap,
            )
        except InputError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{row.where}: does not fit task {self.name}: {error!r}") from error

    def check_columns(self, row: Row) -> None:
        """Refuse a row that lacks a column.

        Raises:
            InputError: naming it, and those that are there.
        """
        for column in self.columns:
            if column not in row.values:
                found = ", ".join(row.values) or "none"
                raise InputError(
                    f"{row.where}: task {self.name} needs column {column!r}; columns there: {found}"
                )

    def _labels(self, values: Columns, reference: bool) -> dict[int | str, str]:
        """The label word for each value of the target column, in this row."""
        if reference:
            assert self.reference
            words = self.reference.labels or map(str, range(len(self.labels)))
            return dict(zip(self.labels, words, strict=True))
        return {value: word.format(**values) for value, word in self.labels.items()}


class _Filled(NamedTuple):
    """A format string with its fields filled in, and where each field's text stands."""

    text: str
    spans: dict[str, Span]

    def find(self, answer: str, column: str) -> Span | None:
        """Where the text of a column holds an answer."""
        if column not in self.spans:
            return None
        found = self.text.find(answer, *self.spans[column])
        return None if found < 0 else (found, found + len(answer))


def _fill(layout: str, values: Columns) -> _Filled:
    text, spans = "", {}
    for literal, name, spec, _ in _parsed(layout):
        text += literal
        if name is not None:
            start = len(text)
            text += format(Formatter().get_field(name, (), values)[0], spec or "")
            spans[name] = (start, len(text))
    return _Filled(text, spans)


@cache
def _parsed(layout: str) -> tuple[tuple[str, str | None, str | None, str | None], ...]:
    return tuple(Formatter().parse(layout))


def _label(row: Row, column: str, value: object, labels: Mapping[int | str, str]) -> str:
    if isinstance(value, int | str) and value in labels:
        return labels[value]
    known = ", ".join(f"{key!r} ({word})" for key, word in labels.items())
    hint = "; the hub marks rows without a label by -1" if value == -1 else ""
    raise InputError(f"{row.where}: column {column!r} is {value!r}; known: {known}{hint}")


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value if isinstance(value, list | tuple) else [value]))


def _fields(layout: str) -> list[str]:
    return [name for _, name, _, _ in Formatter().parse(layout) if name]


def _column(name: str) -> str:
    """The column that a replacement field such as 'test_list[0]' reads."""
    return name.split("[")[0].split(".")[0]
