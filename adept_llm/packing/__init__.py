"""Shared-prefix packing: the prompt of a micro-batch is computed once."""

from adept_llm.packing.attention import use_packed_attention, why_not_packed
from adept_llm.packing.collator import PaddedCollator, SharedPrefixCollator
from adept_llm.packing.layout import PackedLayout

__all__ = [
    "PackedLayout",
    "PaddedCollator",
    "SharedPrefixCollator",
    "use_packed_attention",
    "why_not_packed",
]
