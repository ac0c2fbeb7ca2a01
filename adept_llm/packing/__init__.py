"""Shared-prefix packing: the prompt of a micro-batch is computed once."""

from adept_llm.packing.attention import use_packed_attention, why_not_packed
from adept_llm.packing.batcher import PACKINGS, Batcher, make_batcher
from adept_llm.packing.collator import (
    IGNORED,
    Batch,
    EncodedExample,
    computed_tokens,
    joined_batch,
    packed_batch,
    padded_batch,
)
from adept_llm.packing.layout import PackedLayout
from adept_llm.packing.losses import has_plain_head, summed_loss, token_losses

__all__ = [
    "IGNORED",
    "PACKINGS",
    "Batch",
    "Batcher",
    "EncodedExample",
    "PackedLayout",
    "computed_tokens",
    "has_plain_head",
    "joined_batch",
    "make_batcher",
    "packed_batch",
    "padded_batch",
    "summed_loss",
    "token_losses",
    "use_packed_attention",
    "why_not_packed",
]
