"""The rows of a task, from a folder or from the hub, as examples."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adept_llm.data.example import Example
from adept_llm.data.row import Row, Rows
from adept_llm.data.rows import content_of, read_rows
from adept_llm.data.sampling import few_shot, sample
from adept_llm.data.source import Examples, FromRows, Ready, each, parts
from adept_llm.errors import InputError
from adept_llm.tasks.registry import TASKS, get_task
from adept_llm.tasks.splits import Part
from adept_llm.tasks.task import Task

if TYPE_CHECKING:
    from datasets import Dataset

PROBE_SECONDS = 5.0


def load_split(
    task: Task,
    split: str,
    data_dir: str | Path | None = None,
    limit: int | None = None,
    seed: int = 0,
    *,
    shots: int | None = None,
    reference: bool = False,
) -> list[Example]:
    """Load one split of a task, cut out of the hub's splits as the papers do.

    Args:
        task: The task.
        split: 'train', 'validation' or 'test'.
        data_dir: A folder with `<split>.jsonl` or `<split>.parquet`, named as the hub names the
            split and with the columns of its data set; those of a task that this one is measured
            on in a folder of that task's name. None reads from the hub.
        limit: Take a random sample of at most so many rows, in their order; None takes all.
        seed: Fixes the sample and the draw of the shots.
        shots: Draw so many examples, balanced by class; None takes all.
        reference: Write the examples as the papers do for T5, and halve by rows as they do.

    Returns:
        The examples, at least one, with ids such as 'train.jsonl:17' or 'sst2/train/17', which
        name the hub's split and row.

    Raises:
        InputError: The task has no such split, the file is missing or malformed, a label is
            unknown, nothing is left, or the hub cannot be reached.
    """
    return list(each(TaskRows(task, split, data_dir, limit, seed, shots, reference).open()))


@dataclass(frozen=True)
class TaskRows:
    """One split of a task; see `Source`, and `load_split` for the fields."""

    task: Task
    split: str
    data_dir: str | Path | None = None
    limit: int | None = None
    seed: int = 0
    shots: int | None = None
    reference: bool = False

    def key(self) -> dict[str, Any] | None:
        """All that decides the examples; None for a task of which only its functions know."""
        task, part, folder = self._cut()
        if TASKS.get(task.name) is not task:
            return None
        seed = None if self.limit is self.shots is None else self.seed
        given: dict[str, Any] = {"limit": self.limit, "shots": self.shots, "seed": seed}
        given |= {"task": task.name, "part": str(part), "reference": self.reference}
        if folder is None:
            return {**given, "hub": [task.path, task.config, task.revision]}
        path = _split_file(folder, part.split)
        return {**given, "name": path.name, "content": content_of(path)}

    def check(self) -> None:
        """Refuse a split that is not there.

        Raises:
            InputError: There is no such split, folder or file.
        """
        _, part, folder = self._cut()
        if folder is not None:
            _split_file(folder, part.split)

    def size(self) -> int:
        """Number of rows that are drawn, or more."""
        task, part, folder = self._cut()
        rows, _ = _open(task, part.split, folder)
        return min([len(rows), *(n for n in (self.limit, self.shots) if n is not None)])

    def open(self) -> Examples:
        """The examples.

        Raises:
            InputError: As `load_split`.
        """
        task, part, folder = self._cut()
        rows, where = _open(task, part.split, folder)
        by_group = bool(task.group) and part.is_half and not self.reference
        indices = part.indices(len(rows), _groups(rows, task.group) if by_group else None)
        if not indices:
            raise InputError(
                f"{where}: {len(rows)} rows leave none for {self.split}, which is {part}; "
                "give --data_dir with more rows"
            )
        drawn = sample(len(indices), self.limit, self.seed)
        chosen = array("q", (indices[index] for index in drawn))
        found = FromRows(rows, chosen, _Maker(task, self.reference))
        if not any(found.read(some) for some in parts(len(found))):
            raise InputError(f"{where}: none of {len(found)} rows can be used for task {task.name}")
        return (
            found
            if self.shots is None
            else Ready(few_shot(list(each(found)), self.shots, self.seed))
        )

    def _cut(self) -> tuple[Task, Part, Path | None]:
        """Whose rows they are, which part of which of its splits, and the folder of that."""
        if self.split not in self.task.all_splits:
            known = ", ".join(self.task.all_splits)
            raise InputError(
                f"task {self.task.name} has no labelled {self.split!r} split; it has: {known}"
            )
        owner, part = self.task.all_splits[self.split]
        if self.data_dir is None:
            return owner, part, None
        folder = Path(self.data_dir)
        return owner, part, folder if owner is self.task else folder / owner.name


def load_hub_split(task: Task, split: str, data_dir: str | Path | None = None) -> list[Example]:
    """Load all rows of one of the hub's own splits.

    Args:
        task: The task.
        split: The hub's name for the split.
        data_dir: As for `load_split`.

    Raises:
        InputError: As `load_split`.
    """
    rows, _ = _open(task, split, None if data_dir is None else Path(data_dir))
    return list(each(FromRows(rows, range(len(rows)), _Maker(task, reference=False))))


@dataclass(frozen=True)
class _Maker:
    """Makes a task's example of a row, or None of one to pass over."""

    task: Task
    reference: bool

    def __call__(self, row: Row) -> Example | None:
        self.task.check_columns(row)
        if self.task.keep and not self.task.keep(row.values):
            return None
        return self.task.example(row, self.reference)

    def __reduce__(self) -> Any:
        """By the task's name: other processes cannot be sent its functions."""
        return _maker_of, (self.task.name, self.reference)


def _maker_of(name: str, reference: bool) -> _Maker:
    return _Maker(get_task(name), reference)


class _HubRows(Rows):
    """The rows of one of the hub's splits.

    Args:
        data: Of the split.
        name: Prefix of the rows' ids.
    """

    def __init__(self, data: "Dataset", name: str) -> None:
        self._data = data
        self._name = name

    def __len__(self) -> int:
        return len(self._data)

    def read(self, indices: Sequence[int]) -> list[Row]:
        """As `Rows.read`."""
        rows = zip(indices, self._data.select(indices), strict=True)
        ids = ((f"{self._name}/{index}", values) for index, values in rows)
        return [Row(where=id_, id=id_, values=values) for id_, values in ids]


def _open(task: Task, split: str, folder: Path | None) -> tuple[Rows, str]:
    """All rows of one of the hub's splits, and where they come from, for messages.

    Raises:
        InputError: The first of them lacks a column: the user looks there for what is special.
    """
    if folder is None:
        rows: Rows = _HubRows(_hub_split(task, split), f"{task.name}/{split}")
        where = f"{task.path}, split {split!r}"
    else:
        path = _split_file(folder, split)
        rows, where = read_rows(path), str(path)
    if len(rows):
        task.check_columns(rows[0])
    return rows, where


def _groups(rows: Rows, group: str) -> list[str]:
    """What each row belongs to.

    Raises:
        InputError: naming a row that does not say it.
    """
    found = []
    for row in rows:
        try:
            found.append(group.format(**row.values))
        except (LookupError, TypeError, AttributeError) as error:
            raise InputError(f"{row.where}: names no {group}: {error!r}") from error
    return found


def _split_file(folder: Path, split: str) -> Path:
    if not folder.is_dir():
        raise InputError(f"--data_dir {folder}: there is no such folder")
    names = (f"{split}.jsonl", f"{split}.parquet")
    for name in names:
        if (folder / name).is_file():
            return folder / name
    found = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
    raise InputError(f"--data_dir {folder}: has neither {' nor '.join(names)}; it has: {found}")


def _hub_split(task: Task, split: str) -> "Dataset":
    import datasets
    from huggingface_hub import constants, get_session

    cached = (
        "unset HF_HUB_OFFLINE, since it is not in the cache"
        if constants.HF_HUB_OFFLINE
        else "set HF_HUB_OFFLINE=1 if it is in the cache"
    )
    way_out = f"give --data_dir D with D/{split}.jsonl in the hub's columns, or {cached}"
    unreachable = f"cannot load {task.path} from the hub {constants.ENDPOINT}"
    try:
        # Without network load_dataset would retry for half a minute.
        if not constants.HF_HUB_OFFLINE:
            get_session().head(constants.ENDPOINT, timeout=PROBE_SECONDS)
        return datasets.load_dataset(task.path, task.config, split=split, revision=task.revision)
    except Exception as error:  # httpx, OSError, datasets' own: there is no common class
        line = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{unreachable} ({line[:200]}): {way_out}") from error
