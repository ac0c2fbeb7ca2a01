"""The rows of a run, from a task or from the user's own files, and what is measured on them."""

from adept_llm.data import Encoder, Example, own_examples
from adept_llm.evaluation.measure import Measure
from adept_llm.evaluation.metrics import RUNS_CODE
from adept_llm.evaluation.token_loss import TokenLoss
from adept_llm.tasks import get_task, load_split
from adept_llm.training.arguments import DataArguments


def read_data(data: DataArguments, seed: int) -> tuple[list[Example], list[Example]]:
    """Training and validation examples; the latter empty where there are none.

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


def make_measure(
    data: DataArguments, encoder: Encoder, examples: list[Example], batch_size: int
) -> Measure | TokenLoss | None:
    """What to measure on validation examples, if there are any.

    A task's own metrics; accuracy of own labels; the loss on own free text, and on programs that
    may not be run.

    Raises:
        InputError: if no example fits.
    """
    if data.task:
        task, allowed = get_task(data.task), data.allow_code_execution
        if RUNS_CODE.isdisjoint(task.metrics) or allowed:
            return Measure.of_task(encoder, task, examples, batch_size, allowed)
    elif examples and examples[0].labels:
        return Measure.of(encoder, examples, batch_size=batch_size)
    return TokenLoss.of(encoder, examples, batch_size) if examples else None
