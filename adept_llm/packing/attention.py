"""Teach stock models to attend over packed rows: one registered attention function.

Under the name `ATTENTION` a model calls the packed kernel when the batch carries a layout, and
plain SDPA otherwise (padded batches, generation), so that nothing has to be switched in between.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from adept_llm.compat.transformers import knows_attention, register_attention, stock_attention
from adept_llm.errors import InputError
from adept_llm.packing.kernels import choose_kernel
from adept_llm.packing.layout import PackedLayout

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

ATTENTION = "adept_shared_prefix"

# Architectures with plain causal attention whose packed loss and gradients are tested to equal the
# padded ones (tests/packing/test_parity.py).
PLAIN_CAUSAL = frozenset("llama mistral qwen2 qwen3 phi3 gemma3_text gpt_neox gpt2 opt".split())


def shared_prefix_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    packed_layout: PackedLayout | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention function of a model, query [batch, heads, seq, head_dim] -> [batch, seq, ..].

    Raises:
        InputError: for a packed row beyond the window of this layer, which no kernel knows.
    """
    if packed_layout is None:
        kwargs["sliding_window"] = sliding_window
        stock: tuple[Tensor, None] = stock_attention()(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs
        )
        return stock
    if sliding_window and packed_layout.longest > sliding_window:
        beyond = _beyond(packed_layout.longest, sliding_window)
        raise InputError(f"packing: {beyond}; take padded rows, as make_batcher does")
    if scaling is None:
        scaling = query.shape[-1] ** -0.5
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))  # [T, heads, head_dim]
    kernel = choose_kernel(q, packed_layout, dropout)
    return kernel(q, k, v, packed_layout, scaling, dropout)[None], None


def use_packed_attention(model: "PreTrainedModel") -> None:
    """Let a model read packed rows; padded batches and generation stay as they were.

    Raises:
        ValueError: where `why_not_packed` has a reason.
    """
    reason = why_not_packed(model.config, 0)
    if reason:
        raise ValueError(reason)
    if not knows_attention(ATTENTION):  # one that `compile_layers` put there stays
        register_attention(ATTENTION, shared_prefix_attention)
    model.set_attn_implementation(ATTENTION)


def why_not_packed(config: "PretrainedConfig", longest: int) -> str | None:
    """Why a model cannot read packed rows whose longest sequence has that many tokens, or None."""
    if getattr(config, "attn_logit_softcapping", None):
        return f"{config.model_type} soft-caps its attention"
    if config.model_type not in PLAIN_CAUSAL:
        return f"packing is not tested for {config.model_type}"
    window = window_of(config)
    return _beyond(longest, window) if window and longest > window else None


def window_of(config: "PretrainedConfig") -> int | None:
    """Most tokens that a packed sequence may have: those of the sliding window, or None."""
    window = getattr(config, "sliding_window", None)
    return window if window and getattr(config, "use_sliding_window", True) else None


def _beyond(longest: int, window: int) -> str:
    return f"sequences of {longest} tokens exceed the sliding window of {window}"


def prepared_mask() -> Tensor:
    """A stand-in for the mask of a packed batch.

    Models take a 4-dimensional mask as prepared and build none of their own, which would be [T, T].
    """
    return torch.empty(1, 1, 0, 0)
