"""The rows of a run, from a task or from the user's own files."""

from pathlib import Path

from adept_llm.data import Example, own_examples
from adept_llm.data.instruction_files import OwnRows
from adept_llm.data.rows import check_file
from adept_llm.data.source import Source, each
from adept_llm.tasks import get_task, load_split
from adept_llm.tasks.loading import TaskRows
from adept_llm.training.arguments import DataArguments


def train_source(data: DataArguments, seed: int, test: bool = False) -> Source:
    """Where training examples come from; nothing is read but that all files are there.

    Args:
        data: which rows, and how many of them.
        seed: of the samples.
        test: whether a task's test split is asked for, too.

    Raises:
        InputError: for a file that is missing.
    """
    limit = data.max_train_samples
    if not data.task:
        assert data.train_file is not None
        for name in filter(None, (data.train_file, data.validation_file, data.test_file)):
            check_file(Path(name))
        return OwnRows(Path(data.train_file), None, limit, seed)
    task, reference = get_task(data.task), data.template == "reference"
    for split in ("train", "validation", *(["test"] if test else [])):
        TaskRows(task, split, data.data_dir).check()
    return TaskRows(task, "train", data.data_dir, limit, seed, data.k_shot, reference)


def read_validation(data: DataArguments, seed: int, labels: tuple[str, ...]) -> list[Example]:
    """Validation examples; none where there are none.

    Args:
        data: which rows, and how many of them.
        seed: of the samples.
        labels: of own rows, as found in training.

    Raises:
        InputError: for data that is missing or malformed.
    """
    limit = data.max_validation_samples
    if data.task:
        reference, folder = data.template == "reference", data.data_dir
        return load_split(
            get_task(data.task), "validation", folder, limit, seed, reference=reference
        )
    if not data.validation_file:
        return []
    return own_examples(data.validation_file, labels, limit, seed)


def read_data(data: DataArguments, seed: int) -> tuple[list[Example], list[Example]]:
    """Training and validation examples in memory; the latter empty where there are none.

    Args:
        data: which rows, and how many of them.
        seed: of the samples.

    Raises:
        InputError: for data that is missing or malformed.
    """
    train = list(each(train_source(data, seed).open()))
    return train, read_validation(data, seed, train[0].labels)


def read_test(
    data: DataArguments, seed: int, from_task: bool, labels: tuple[str, ...]
) -> list[Example]:
    """Examples to be answered by the trained model; none where nobody asked for it.

    Args:
        data: which rows.
        seed: of the samples.
        from_task: whether to take the task's test split, where there is a task.
        labels: of own rows, as found in training.

    Raises:
        InputError: for data that is missing or malformed.
    """
    if data.test_file:
        return own_examples(data.test_file, labels, None, seed)
    if not from_task or not data.task:
        return []
    reference = data.template == "reference"
    return load_split(get_task(data.task), "test", data.data_dir, None, seed, reference=reference)
