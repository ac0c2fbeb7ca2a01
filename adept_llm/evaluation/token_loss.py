"""Free text without generating it: the mean loss over target tokens, as in training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from adept_llm.adapters import get_adapter
from adept_llm.data import Encoded, Encoder, Example, Report
from adept_llm.packing import PaddedCollator, SharedPrefixCollator
from adept_llm.packing.attention import ATTENTION
from adept_llm.packing.collator import IGNORED


@dataclass(frozen=True)
class TokenLoss:
    """Encoded examples and the loss on them: a function from a model to {"loss": ..}.

    Attributes:
        encoded: The examples.
        report: What became of them.
        batch_size: Examples in a batch.
    """

    encoded: tuple[Encoded, ...]
    report: Report
    batch_size: int = 32
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

    @torch.no_grad()
    def __call__(self, model: Any) -> dict[str, float]:
        """Cross-entropy in nats per target token, EOS included."""
        model.eval()
        adapter = get_adapter(model)
        packed = model.config._attn_implementation == ATTENTION
        collator: Any = PaddedCollator(adapter.virtual_token_ids, 0)
        if packed:
            collator = SharedPrefixCollator(adapter.virtual_token_ids)
        # neighbours of like length waste the least padding
        order = sorted(self.encoded, key=lambda e: len(e.prompt_ids) + len(e.target_ids))
        total, count = 0.0, 0
        for start in range(0, len(order), self.batch_size):
            batch = collator(order[start : start + self.batch_size])
            labels = batch.pop("labels").to(adapter.weight.device)
            for name in ("example_ids", "num_text_tokens"):
                batch.pop(name)
            inputs = {
                n: v.to(adapter.weight.device) if isinstance(v, Tensor) else v
                for n, v in batch.items()
            }
            logits = model(**inputs, use_cache=False).logits.flatten(0, -2).float()
            loss = F.cross_entropy(logits, labels.flatten(), ignore_index=IGNORED, reduction="sum")
            total += loss.item()
            count += int((labels != IGNORED).sum())
        return {"loss": total / count}
