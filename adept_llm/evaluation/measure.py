"""What is measured on a split: the answers to its rows, or the loss on them."""

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from adept_llm.data import Encoder, Example, Report
from adept_llm.errors import InputError
from adept_llm.evaluation.answers import AnswerMeasure
from adept_llm.evaluation.free_text import FreeText
from adept_llm.evaluation.metrics import RUNS_CODE
from adept_llm.evaluation.token_loss import TokenLoss
from adept_llm.packing import Batcher
from adept_llm.tasks import Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FREE_TEXT_METRICS = ("exact_match", "token_f1")
LEAST_NEW_TOKENS = 32
log = logging.getLogger(__name__)

Numbers = Callable[["PreTrainedModel", Batcher], dict[str, float]]
"""Metrics by name of an injected model."""


class Measure(Protocol):
    """A function from a model to numbers, with its examples inside."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of what a call measures."""

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

    def at_end(self, model: "PreTrainedModel", batcher: Batcher) -> dict[str, float]:
        """The same of a trained model, and what takes too long to be measured often."""


def make_measure(
    encoder: Encoder,
    examples: Sequence[Example],
    task: Task | None = None,
    batch_size: int = 32,
    allow_code_execution: bool = False,
    allow_unsandboxed_code: bool = False,
) -> Measure:
    """What to measure while training: quick, and without running code unasked.

    A task's own metrics, or the accuracy of labels; the loss on free text that belongs to no task
    (at the end its generated answers too), and on programs that may not be run.

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
    loss = TokenLoss.of(encoder, examples, batch_size)
    if task:
        return loss
    try:
        answers = measure_answers(encoder, examples, batch_size=batch_size)
    except InputError as error:
        log.info("generated answers are not measured at the end: %s", error)
        return loss
    if answers.report.dropped > loss.report.dropped:
        log.info("generated answers are measured of fewer rows at the end: %s", answers.report)
    return FreeText(loss, answers)


def check_best(metric: str | None, measure: Measure | None) -> None:
    """Refuse a metric_for_best_model that will not be measured.

    Args:
        metric: Its name, with or without 'eval_'; 'loss', Trainer's default, stands for the main
            metric, and 'eval_loss' for the loss.
        measure: What will be measured.

    Raises:
        InputError: naming what there is.
    """
    known = (*measure.metrics, "loss") if measure else ()
    if metric is None or (measure and metric == "loss") or metric.removeprefix("eval_") in known:
        return
    names = ", ".join(known) or "none without a validation split"
    raise InputError(f"metric_for_best_model: {metric!r} is not measured; known: {names}")


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
    if examples[0].labels:
        return AnswerMeasure.of(encoder, examples, batch_size=batch_size)
    targets = encoder.label_ids([example.target for example in examples])
    # an answer that may end only where the right one does would look better than it is
    longest = max(LEAST_NEW_TOKENS, *map(len, targets))
    return AnswerMeasure.of(
        encoder, examples, FREE_TEXT_METRICS, max_new_tokens=longest, batch_size=batch_size
    )
