"""The rows of a task, from a folder or from the hub, as examples."""

from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from adept_llm.errors import InputError
from adept_llm.tasks.example import Example
from adept_llm.tasks.rows import Row, read_rows
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
) -> list[Example]:
    """Load one split of a task.

    Args:
        task: The task.
        split: 'train', 'validation' or 'test'.
        data_dir: A folder with `<split>.jsonl` or `<split>.parquet`, named as the hub names the
            split and with the columns of its data set; None reads from the hub.
        limit: Take a random sample of at most so many rows, in their order; None takes all.
        seed: Fixes the sample.

    Returns:
        The examples, at least one, with ids such as 'train.jsonl:17' or 'sst2/train/17'.

    Raises:
        InputError: The task has no such split, the file is missing or malformed, a label is
            unknown, or the hub cannot be reached.
    """
    if split not in task.splits:
        known = ", ".join(task.splits)
        raise InputError(f"task {task.name} has no labelled {split!r} split; it has: {known}")
    if limit is not None and limit < 1:
        raise InputError(f"the limit of rows must be at least 1, not {limit}")
    if data_dir is None:
        rows = _hub_rows(task, split, limit, seed)
    else:
        every = read_rows(_split_file(Path(data_dir), task.splits[split]))
        rows = [every[index] for index in _sample(len(every), limit, seed)]
    return [task.example(row) for row in rows]


def _split_file(folder: Path, split: str) -> Path:
    if not folder.is_dir():
        raise InputError(f"--data_dir {folder}: there is no such folder")
    names = (f"{split}.jsonl", f"{split}.parquet")
    for name in names:
        if (folder / name).is_file():
            return folder / name
    found = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
    raise InputError(f"--data_dir {folder}: has neither {' nor '.join(names)}; it has: {found}")


def _hub_rows(task: Task, split: str, limit: int | None, seed: int) -> list[Row]:
    data = _hub_split(task, task.splits[split])
    if not len(data):
        raise InputError(f"{task.path} has no rows in split {task.splits[split]!r}")
    chosen = _sample(len(data), limit, seed)
    rows = zip(chosen, data.select(chosen), strict=True)
    ids = ((f"{task.name}/{split}/{index}", values) for index, values in rows)
    return [Row(where=id_, id=id_, values=values) for id_, values in ids]


def _hub_split(task: Task, split: str) -> "Dataset":
    import datasets
    from huggingface_hub import constants, get_session

    way_out = (
        f"give --data_dir D with D/{split}.jsonl in the hub's columns, "
        "or set HF_HUB_OFFLINE=1 if it is in the cache"
    )
    unreachable = f"cannot load {task.path} from the hub {constants.ENDPOINT}"
    try:
        # Without network load_dataset would retry for half a minute.
        if not constants.HF_HUB_OFFLINE:
            get_session().head(constants.ENDPOINT, timeout=PROBE_SECONDS)
        return datasets.load_dataset(task.path, task.config, split=split, revision=task.revision)
    except Exception as error:  # httpx, OSError, datasets' own: there is no common class
        line = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{unreachable} ({line[:200]}): {way_out}") from error


def _sample(total: int, limit: int | None, seed: int) -> list[int]:
    if limit is None or limit >= total:
        return list(range(total))
    return sorted(Random(seed).sample(range(total), limit))
