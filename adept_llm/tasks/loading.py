"""The rows of a task, from a folder or from the hub, as examples."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from adept_llm.data.example import Example
from adept_llm.data.rows import Row, read_rows
from adept_llm.data.sampling import few_shot, sample
from adept_llm.errors import InputError
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
    if split not in task.all_splits:
        known = ", ".join(task.all_splits)
        raise InputError(f"task {task.name} has no labelled {split!r} split; it has: {known}")
    owner, part = task.all_splits[split]
    if owner is not task:
        task, data_dir = owner, data_dir and Path(data_dir) / owner.name
    data = _Rows.open(task, part.split, data_dir)
    data.check_columns(task)
    by_group = bool(task.group) and part.is_half and not reference
    indices = part.indices(len(data), data.groups(task.group) if by_group else None)
    if not indices:
        raise InputError(
            f"{data.where}: {len(data)} rows leave none for {split}, which is {part}; "
            "give --data_dir with more rows"
        )
    chosen = [indices[index] for index in sample(len(indices), limit, seed)]
    rows = data.read(chosen)
    examples = [task.example(row, reference) for row in rows if _kept(task, row)]
    if not examples:
        raise InputError(f"{data.where}: none of {len(rows)} rows can be used for task {task.name}")
    return examples if shots is None else few_shot(examples, shots, seed)


def load_hub_split(task: Task, split: str, data_dir: str | Path | None = None) -> list[Example]:
    """Load all rows of one of the hub's own splits.

    Args:
        task: The task.
        split: The hub's name for the split.
        data_dir: As for `load_split`.

    Raises:
        InputError: As `load_split`.
    """
    data = _Rows.open(task, split, data_dir)
    data.check_columns(task)
    rows = data.read(range(len(data)))
    return [task.example(row) for row in rows if _kept(task, row)]


def _kept(task: Task, row: Row) -> bool:
    return not task.keep or task.keep(row.values)


class _Rows(NamedTuple):
    """The rows of one of the hub's splits, read or about to be read.

    Attributes:
        where: Where they come from, for messages.
        rows: All rows of a file, or the hub's data set.
        name: Prefix of the ids of rows from the hub.
    """

    where: str
    rows: "list[Row] | Dataset"
    name: str

    @classmethod
    def open(cls, task: Task, split: str, data_dir: str | Path | None) -> "_Rows":
        if data_dir is None:
            data = _hub_split(task, split)
            return cls(f"{task.path}, split {split!r}", data, f"{task.name}/{split}")
        path = _split_file(Path(data_dir), split)
        return cls(str(path), read_rows(path), "")

    def __len__(self) -> int:
        return len(self.rows)

    def check_columns(self, task: Task) -> None:
        """Refuse rows that lack a column: the first such row, not one that a sample comes upon.

        Raises:
            InputError: naming the row and the column.
        """
        rows = self.rows if isinstance(self.rows, list) else self.read([0] if len(self) else [])
        for row in rows:
            task.check_columns(row)

    def groups(self, group: str) -> list[str]:
        """What each row belongs to.

        Raises:
            InputError: naming a row that does not say it.
        """
        found = []
        for row in self.read(range(len(self))):
            try:
                found.append(group.format(**row.values))
            except (LookupError, TypeError, AttributeError) as error:
                raise InputError(f"{row.where}: names no {group}: {error!r}") from error
        return found

    def read(self, indices: Sequence[int]) -> list[Row]:
        if isinstance(self.rows, list):
            return [self.rows[index] for index in indices]
        rows = zip(indices, self.rows.select(indices), strict=True)
        ids = ((f"{self.name}/{index}", values) for index, values in rows)
        return [Row(where=id_, id=id_, values=values) for id_, values in ids]


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
