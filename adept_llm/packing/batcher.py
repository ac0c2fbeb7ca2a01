"""How a model's micro-batches are made: decided once, from the model, the wish and the lengths."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adept_llm.adapters import virtual_token_ids
from adept_llm.errors import InputError
from adept_llm.packing.attention import use_packed_attention, why_not_packed
from adept_llm.packing.collator import (
    Batch,
    EncodedExample,
    packed_batch,
    padded_batch,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PACKINGS = ("shared_prefix", "padded")


@dataclass(frozen=True)
class Batcher:
    """Collates examples for one model; whoever feeds that model asks here how it reads rows.

    Attributes:
        virtual_token_ids: The m ids of P.
        packed: Whether the model reads packed rows.
        why_padded: Why it does not although that was asked for, else None.
    """

    virtual_token_ids: tuple[int, ...]
    packed: bool
    why_padded: str | None = None

    def __call__(self, examples: Sequence[EncodedExample]) -> Batch:
        """A micro-batch: `batch["inputs"]` goes to the model, the rest is book-keeping.

        Raises:
            InputError: for an empty prompt without virtual tokens.
        """
        collate = packed_batch if self.packed else padded_batch
        return collate(self.virtual_token_ids, examples)


def make_batcher(
    model: "PreTrainedModel", packing: str = "shared_prefix", longest_text: int = 0
) -> Batcher:
    """The batcher of a model, which is taught to read packed rows where it can.

    Args:
        model: An injected model, or one without adapter.
        packing: shared_prefix or padded.
        longest_text: Most tokens of a prompt and its target, virtual tokens not counted.

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
    return Batcher(virtual, reason is None, reason)
