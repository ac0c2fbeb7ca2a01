"""The rows of a run, from a task or from the user's own files."""

from adept_llm.data import Example, own_examples
from adept_llm.tasks import get_task, load_split
from adept_llm.training.arguments import DataArguments


def read_data(data: DataArguments, seed: int) -> tuple[list[Example], list[Example]]:
    """Training and validation examples; the latter empty where there are none.

    Args:
        data: which rows, and how many of them.
        seed: of the samples.

    Raises:
        InputError: for data that is missing or malformed.
    """
    if data.task:
        task, reference = get_task(data.task), data.template == "reference"
        limits = {"train": data.max_train_samples, "validation": data.max_validation_samples}
        train, validation = (
            load_split(
                task, split, data.data_dir, limit, seed,
                shots=data.k_shot if split == "train" else None, reference=reference,
            )
            for split, limit in limits.items()
        )  # fmt: skip
        return train, validation
    assert data.train_file is not None
    train = own_examples(data.train_file, None, data.max_train_samples, seed)
    if not data.validation_file:
        return train, []
    labels, limit = train[0].labels, data.max_validation_samples
    return train, own_examples(data.validation_file, labels, limit, seed)


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
