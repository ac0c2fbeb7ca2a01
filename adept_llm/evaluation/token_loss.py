"""Free text without generating it: the mean loss over tokens, the same loss as is trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from adept_llm.adapters import embedding_device
from adept_llm.data import Encoded, Encoder, Example, Report
from adept_llm.packing import IGNORED, Batcher, token_losses

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class TokenLoss:
    """A `Measure`: encoded examples and the loss on them, {"loss": ..}.

    Attributes:
        encoded: The examples.
        report: What became of them.
        batch_size: Examples in a batch.
    """

    encoded: tuple[Encoded, ...]
    report: Report
    batch_size: int = 32
    metrics: tuple[str, ...] = ("loss",)
    main_metric: str = "loss"
    greater_is_better: bool = False

    @classmethod
    def of(cls, encoder: Encoder, examples: Sequence[Example], batch_size: int) -> "TokenLoss":
        """Encode as for training.

        Raises:
            InputError: if no example fits.
        """
        encoded, report = encoder.encode_all(examples)
        return cls(tuple(encoded), report, batch_size)

    def __call__(self, model: "PreTrainedModel", batcher: Batcher) -> dict[str, float]:
        """Cross-entropy in nats per learnt token, EOS included."""
        return {"loss": mean_loss(model, batcher, self.encoded, self.batch_size)}

    at_end = __call__


@torch.no_grad()
def mean_loss(
    model: "PreTrainedModel", batcher: Batcher, encoded: Sequence[Encoded], batch_size: int
) -> float:
    """Cross-entropy in nats per predicted token, over all tokens of all examples.

    Args:
        model: An injected model; it is put into evaluation mode.
        batcher: The model's.
        encoded: The examples.
        batch_size: Examples in a batch.
    """
    model.eval()
    device = embedding_device(model)
    # neighbours of like length waste the least padding
    order = sorted(encoded, key=lambda e: len(e.prompt_ids) + len(e.target_ids))
    total, count = 0.0, 0
    for start in range(0, len(order), batch_size):
        batch = batcher(order[start : start + batch_size])
        inputs = {
            name: value.to(device) if isinstance(value, Tensor) else value
            for name, value in batch["inputs"].items()
        }
        labels = batch["labels"].to(device)
        total += token_losses(model, inputs, labels).sum().item()
        count += int((labels != IGNORED).sum())
    return total / count
