"""A benchmark task, declared: where its rows are and how a row becomes an example."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from string import Formatter
from typing import Any

from adept_llm.errors import InputError
from adept_llm.tasks.example import Example
from adept_llm.tasks.rows import Row


@dataclass(frozen=True)
class Task:
    """A benchmark task on the Hugging Face hub.

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
        splits: The hub's split for each of ours ('train', 'validation', 'test') that has labels.
        columns: All columns that layout and target need.
        instruction: What to do.
        layout: Format string over the columns that gives the input.
        target: A column, or a function from the row's columns to a free text.
        metrics: Names of the metrics, the main one first.
        labels: For classification: the label word for each value of the target column.
    """

    name: str
    path: str
    config: str | None
    revision: str
    splits: Mapping[str, str]
    columns: tuple[str, ...]
    instruction: str
    layout: str
    target: str | Callable[[Mapping[str, Any]], str]
    metrics: tuple[str, ...]
    labels: Mapping[int | str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that the declaration agrees with itself."""
        used = {_column(name) for _, name, _, _ in Formatter().parse(self.layout) if name}
        if isinstance(self.target, str):
            used.add(self.target)
        elif self.labels:
            raise ValueError(f"task {self.name}: label words need a target column, not a function")
        if not used <= set(self.columns):
            unnamed = ", ".join(sorted(used - set(self.columns)))
            raise ValueError(f"task {self.name}: columns lacks {unnamed}")
        if len(set(self.labels.values())) < len(self.labels):
            raise ValueError(f"task {self.name}: two label values have the same word")
        for name in ("instruction", "layout", "metrics", "splits", "revision"):
            if not getattr(self, name):
                raise ValueError(f"task {self.name}: {name} is empty")

    def example(self, row: Row) -> Example:
        """Make an example of a row.

        Args:
            row: A row with the hub's columns.

        Returns:
            The example, with the row's id.

        Raises:
            InputError: A column is missing or null, or the label's value is unknown.
        """
        for column in self.columns:
            if column not in row.values:
                found = ", ".join(row.values) or "none"
                raise InputError(
                    f"{row.where}: task {self.name} needs column {column!r}; columns there: {found}"
                )
            if row.values[column] is None:
                raise InputError(
                    f"{row.where}: column {column!r} is null; fill it or remove the row"
                )
        try:
            context, target = self.layout.format(**row.values), self._target(row)
        except InputError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{row.where}: does not fit task {self.name}: {error!r}") from error
        labels = tuple(self.labels.values())
        return Example(self.instruction, context, target, id=row.id, labels=labels)

    def _target(self, row: Row) -> str:
        if not isinstance(self.target, str):
            return self.target(row.values)
        value = row.values[self.target]
        if not self.labels:
            return str(value)
        if not isinstance(value, int | str) or value not in self.labels:
            known = ", ".join(f"{key!r} ({word})" for key, word in self.labels.items())
            hint = "; the hub marks rows without a label by -1" if value == -1 else ""
            raise InputError(
                f"{row.where}: column {self.target!r} is {value!r}; known: {known}{hint}"
            )
        return self.labels[value]


def _column(name: str) -> str:
    """The column that a replacement field such as 'test_list[0]' reads."""
    return name.split("[")[0].split(".")[0]
