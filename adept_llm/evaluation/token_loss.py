"""Free text without generating it: the mean loss over tokens, the same loss as is trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from adept_llm.adapters import embedding_device
from adept_llm.data import Encoded, Encoder, Example, Report
from adept_llm.evaluation.ranks import batches, collect
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

    Several ranks share the work, and all must call.

    Args:
        model: An injected model; it is put into evaluation mode.
        batcher: The model's.
        encoded: The examples.
        batch_size: Examples in a batch.
    """
    model.eval()
    device = embedding_device(model)
    # neighbours of like length waste the least padding
    lengths = [len(e.prompt_ids) + len(e.target_ids) for e in encoded]
    order = sorted(range(len(encoded)), key=lengths.__getitem__)
    sums: dict[int, tuple[float, int]] = {}
    for indices in batches(order, batch_size):
        batch = batcher([encoded[i] for i in indices])
        inputs = {
            name: value.to(device) if isinstance(value, Tensor) else value
            for name, value in batch["inputs"].items()
        }
        labels = batch["labels"].to(device)
        total = token_losses(model, inputs, labels).sum().item()
        sums[indices[0]] = (total, int((labels != IGNORED).sum()))
    every = collect(sums)
    # in the order of one process, whose sum it then is to the last bit
    totals, counts = zip(*(every[i] for i in order if i in every), strict=True)
    return sum(totals) / sum(counts)
