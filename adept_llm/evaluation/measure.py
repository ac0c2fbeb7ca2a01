"""What is measured on a split: the answers to its rows, or the loss on them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from adept_llm.data import Encoder, Example, Report
from adept_llm.evaluation.answers import AnswerMeasure
from adept_llm.evaluation.metrics import RUNS_CODE
from adept_llm.evaluation.token_loss import TokenLoss
from adept_llm.packing import Batcher
from adept_llm.tasks import Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FREE_TEXT_METRICS = ("exact_match", "token_f1")


class Measure(Protocol):
    """A function from a model to numbers, with its examples inside."""

    @property
    def main_metric(self) -> str:
        """The metric by which the best checkpoint is chosen."""

    @property
    def greater_is_better(self) -> bool:
        """Whether more of it is better."""

    @property
    def report(self) -> Report:
        """What became of the examples."""

    def __call__(self, model: "PreTrainedModel", batcher: Batcher) -> dict[str, float]:
        """Metrics of an injected model by name."""


def make_measure(
    encoder: Encoder,
    examples: Sequence[Example],
    task: Task | None = None,
    batch_size: int = 32,
    allow_code_execution: bool = False,
    allow_unsandboxed_code: bool = False,
) -> Measure:
    """What to measure while training: quick, and without running code unasked.

    A task's own metrics, or the accuracy of labels; the loss on free text that belongs to no task,
    and on programs that may not be run.

    Args:
        encoder: With the template and the length to read.
        examples: All labelled, or all free text.
        task: Whose rows they are; None for the user's own.
        batch_size: Sequences in a batch.
        allow_code_execution: Whether metrics may run generated programs.
        allow_unsandboxed_code: Whether also where there is no sandbox.

    Raises:
        InputError: if no example fits.
    """
    runs_code = task is not None and not RUNS_CODE.isdisjoint(task.metrics)
    if (task or examples[0].labels) and (allow_code_execution or not runs_code):
        return measure_answers(
            encoder, examples, task, batch_size, allow_code_execution, allow_unsandboxed_code
        )
    return TokenLoss.of(encoder, examples, batch_size)


def measure_answers(
    encoder: Encoder,
    examples: Sequence[Example],
    task: Task | None = None,
    batch_size: int = 32,
    allow_code_execution: bool = False,
    allow_unsandboxed_code: bool = False,
) -> AnswerMeasure:
    """What to measure of a tuned model: its answers, free text written out.

    Args:
        encoder: With the template and the length to read.
        examples: All labelled, or all free text.
        task: Whose rows they are; None for the user's own.
        batch_size: Sequences in a batch.
        allow_code_execution: Whether metrics may run generated programs.
        allow_unsandboxed_code: Whether also where there is no sandbox.

    Raises:
        InputError: if no example fits, or a metric would run generated code without permission.
    """
    if task:
        return AnswerMeasure.of_task(
            encoder, task, examples, batch_size, allow_code_execution, allow_unsandboxed_code
        )
    metrics = ("accuracy",) if examples[0].labels else FREE_TEXT_METRICS
    return AnswerMeasure.of(encoder, examples, metrics, batch_size=batch_size)
