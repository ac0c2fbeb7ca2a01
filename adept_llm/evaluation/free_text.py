"""Free text: its loss while a model is trained, and its generated answers when it is done."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adept_llm.data import Report
from adept_llm.evaluation.answers import AnswerMeasure
from adept_llm.evaluation.token_loss import TokenLoss
from adept_llm.packing import Batcher

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class FreeText:
    """A `Measure`: the loss, quick enough to be measured often, and at the end the answers too.

    Attributes:
        loss: On the targets.
        answers: Of the same examples, written out.
    """

    loss: TokenLoss
    answers: AnswerMeasure

    @property
    def metrics(self) -> tuple[str, ...]:
        """What a call measures."""
        return self.loss.metrics

    @property
    def main_metric(self) -> str:
        """The metric by which the best checkpoint is chosen."""
        return self.loss.main_metric

    @property
    def greater_is_better(self) -> bool:
        """A loss should be small."""
        return self.loss.greater_is_better

    @property
    def report(self) -> Report:
        """What became of the examples."""
        return self.loss.report

    def __call__(self, model: "PreTrainedModel", batcher: Batcher) -> dict[str, float]:
        """The loss."""
        return self.loss(model, batcher)

    def at_end(self, model: "PreTrainedModel", batcher: Batcher) -> dict[str, float]:
        """The loss, and the metrics of generated answers."""
        loss = self.loss(model, batcher)  # last too: of all rows, where answers leave out long ones
        return loss | self.answers(model, batcher) | loss
