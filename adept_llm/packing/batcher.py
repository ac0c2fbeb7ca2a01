"""How a model's micro-batches are made: decided once, from the model, the wish and the lengths."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from adept_llm.adapters import virtual_token_ids
from adept_llm.errors import InputError
from adept_llm.packing.attention import use_packed_attention, why_not_packed, window_of
from adept_llm.packing.collator import (
    Batch,
    EncodedExample,
    packed_batch,
    padded_batch,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

PACKINGS = ("shared_prefix", "padded")


@dataclass(frozen=True)
class Batcher:
    """Collates examples for one model; whoever feeds that model asks here how it reads rows.

    Attributes:
        virtual_token_ids: The m ids of P.
        packed: Whether the model reads packed rows.
        why_padded: Why it does not although that was asked for, else None.
        window: Most tokens of P and a text in a packed row, or None for any number.
    """

    virtual_token_ids: tuple[int, ...]
    packed: bool
    why_padded: str | None = None
    window: int | None = None

    def __call__(self, examples: Sequence[EncodedExample]) -> Batch:
        """A micro-batch: `batch["inputs"]` goes to the model, the rest is book-keeping.

        Raises:
            InputError: for an empty prompt without virtual tokens.
        """
        # the last target token is predicted, never read
        longest = max((len(e.prompt_ids) + len(e.target_ids) - 1 for e in examples), default=0)
        collate = packed_batch if self.packs(longest) else padded_batch
        return collate(self.virtual_token_ids, examples)

    def packs(self, longest_text: int) -> bool:
        """Whether a batch is packed whose longest text has that many tokens."""
        if self.packed and self.window and self.window < len(self.virtual_token_ids) + longest_text:
            _say_once(self.window)
            return False
        return self.packed


def make_batcher(
    model: "PreTrainedModel", packing: str = "shared_prefix", longest_text: int = 0
) -> Batcher:
    """The batcher of a model, which is taught to read packed rows where it can.

    Args:
        model: An injected model, or one without adapter.
        packing: shared_prefix or padded.
        longest_text: Most tokens of a prompt and its target, virtual tokens not counted, where that
            is known: all batches are padded then if one might have to be.

    Raises:
        InputError: if the packing is unknown.
    """
    if packing not in PACKINGS:
        raise InputError(f"packing: '{packing}' is unknown; known: {', '.join(PACKINGS)}")
    virtual = tuple(virtual_token_ids(model))
    if packing == "padded":
        return Batcher(virtual, packed=False)
    reason = why_not_packed(model.config, len(virtual) + longest_text)
    if reason is None:
        use_packed_attention(model)
    return Batcher(virtual, reason is None, reason, window_of(model.config))


@cache
def _say_once(window: int) -> None:
    logger.warning(
        "padding a batch instead of packing: a text is longer than the sliding window of %d", window
    )
