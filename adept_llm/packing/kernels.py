"""Attention over a packed row, by five kernels with one signature (one in `dense_prefix.py`).

    kernel(query [T, H, D], key [T, G, D], value [T, G, D], layout, scaling, dropout) -> [T, H, D]

G key heads serve H query heads, H a multiple of G. All compute the same; `choose_kernel` takes the
fastest one that runs at hand.
"""

import inspect
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from adept_llm.packing.dense_prefix import dense_attention, fits
from adept_llm.packing.layout import PackedLayout

Kernel = Callable[[Tensor, Tensor, Tensor, PackedLayout, float, float], Tensor]


def choose_kernel(query: Tensor, layout: PackedLayout, dropout: float) -> Kernel:
    """The kernel for queries [T, H, D] of a device and dtype.

    In half precision on CUDA flash-attn's where it is installed, else torch's own varlen kernel,
    else FlexAttention. Everywhere else dense products for short texts, SDPA for long ones.
    """
    half = query.dtype in (torch.float16, torch.bfloat16)
    varlen = query.device.type == "cuda" and half
    if not varlen or torch.cuda.get_device_capability(query.device) < (8, 0):
        dense = not dropout and fits(query, layout)
        return dense_attention if dense else sdpa_attention
    if find_spec("flash_attn"):
        return flash_attention
    return torch_varlen_attention if _torch_varlen() else flex_attention


class SdpaPlan:
    """Segments of one depth form a padded batch; few shapes, few calls.

    Each group holds: ancestor row indices [A] shared by all, or [n, A] padded; own row indices
    [n, L] padded; a mask, or None for plain causal attention. `back` [T] finds each row of the
    packed output among the groups' padded rows.
    """

    def __init__(self, layout: PackedLayout, device: torch.device) -> None:
        by_depth: dict[int, list[int]] = defaultdict(list)
        for i, length in enumerate(layout.lengths):
            if length:
                by_depth[len(layout.ancestors[i])].append(i)
        self.groups = []
        back = torch.empty(sum(layout.lengths), dtype=torch.long)
        offset = 0
        for members in by_depth.values():
            longest = max(layout.lengths[i] for i in members)
            own = _pad([layout.segment_tokens(i) for i in members])
            for n, i in enumerate(members):
                first = offset + n * longest
                back[layout.segment_tokens(i)] = torch.arange(first, first + layout.lengths[i])
            offset += own.numel()
            self.groups.append(self._group(layout, members, own, device))
        self.back = back.to(device)

    @staticmethod
    def _group(
        layout: PackedLayout, members: list[int], own: Tensor, device: torch.device
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        length = own.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        contexts = [layout.ancestor_tokens(i) for i in members]
        if len({layout.parents[i] for i in members}) == 1:
            context = contexts[0]  # [A]
            if not len(context):
                return context.to(device), own.to(device), None
            seen = torch.ones(length, len(context), dtype=torch.bool)
            mask = torch.cat([seen, causal], 1)[None, None]  # [1, 1, L, A + L]
        else:
            context = _pad(contexts)  # [n, A]
            sizes = torch.tensor([len(c) for c in contexts])
            seen = torch.arange(context.shape[1])[None] < sizes[:, None]  # [n, A]
            seen = seen[:, None].expand(-1, length, -1)
            mask = torch.cat([seen, causal.expand(len(members), -1, -1)], 2)[:, None]
        return context.to(device), own.to(device), mask.to(device)


def sdpa_attention(
    query: Tensor, key: Tensor, value: Tensor, layout: PackedLayout, scaling: float, dropout: float
) -> Tensor:
    """Torch's scaled_dot_product_attention over segments padded to the longest: any device."""
    plan = cast(SdpaPlan, layout.plan(SdpaPlan, query.device))
    outputs = []
    for context, own, mask in plan.groups:
        q = _rows(query, own)
        k, v = (_with_context(x, context, own) for x in (key, value))
        repeats = q.shape[1] // k.shape[1]
        if repeats > 1:
            k, v = (x.repeat_interleave(repeats, dim=1) for x in (k, v))
        out = F.scaled_dot_product_attention(
            q, k, v, mask, dropout, is_causal=mask is None, scale=scaling
        )
        outputs.append(out.transpose(1, 2).flatten(0, 1))  # [n * L, H, D]
    return torch.cat(outputs).index_select(0, plan.back)


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """Rows of [T, H, D] by index [n, L], as [n, H, L, D]."""
    return x.index_select(0, index.flatten()).view(*index.shape, *x.shape[1:]).transpose(1, 2)


def _with_context(x: Tensor, context: Tensor, own: Tensor) -> Tensor:
    """Keys or values of [ancestors | own] for each segment, [n, G, A + L, D]."""
    rows = _rows(x, own)
    if not context.numel():
        return rows
    if context.ndim == 1:
        # expand, so that the gradient of the shared rows is a sum and not a scatter
        shared = x.index_select(0, context).transpose(0, 1)[None]  # [1, G, A, D]
        return torch.cat([shared.expand(len(own), -1, -1, -1), rows], 2)
    return torch.cat([_rows(x, context), rows], 2)


class VarlenPlan:
    """Cumulative lengths and the key rows of [ancestors | own] of each segment, one after another.

    Causal varlen kernels align the ends of keys and queries, so that each query sees all ancestors.
    """

    def __init__(self, layout: PackedLayout, device: torch.device) -> None:
        members = [i for i, length in enumerate(layout.lengths) if length]
        keys = [torch.cat([layout.ancestor_tokens(i), layout.segment_tokens(i)]) for i in members]
        q_lengths = [layout.lengths[i] for i in members]
        k_lengths = [len(k) for k in keys]
        self.key_index = torch.cat(keys).to(device)
        self.cu_q, self.cu_k = (
            F.pad(torch.tensor(n).cumsum(0), (1, 0)).to(device, torch.int32)
            for n in (q_lengths, k_lengths)
        )
        self.max_q, self.max_k = max(q_lengths), max(k_lengths)


def flash_attention(
    query: Tensor, key: Tensor, value: Tensor, layout: PackedLayout, scaling: float, dropout: float
) -> Tensor:
    """flash-attn's varlen kernel (CUDA, half precision)."""
    from flash_attn import flash_attn_varlen_func

    plan = cast(VarlenPlan, layout.plan(VarlenPlan, query.device))
    k, v = key.index_select(0, plan.key_index), value.index_select(0, plan.key_index)
    out: Tensor = flash_attn_varlen_func(
        query, k, v, plan.cu_q, plan.cu_k, plan.max_q, plan.max_k,
        dropout_p=dropout, softmax_scale=scaling, causal=True,
    )  # fmt: skip
    return out


def torch_varlen_attention(
    query: Tensor, key: Tensor, value: Tensor, layout: PackedLayout, scaling: float, dropout: float
) -> Tensor:
    """torch.nn.attention.varlen (CUDA, half precision, no dropout)."""
    if dropout:
        return sdpa_attention(query, key, value, layout, scaling, dropout)
    varlen_attn = _torch_varlen()
    assert varlen_attn is not None
    plan = cast(VarlenPlan, layout.plan(VarlenPlan, query.device))
    repeats = query.shape[1] // key.shape[1]
    k, v = (x.index_select(0, plan.key_index) for x in (key, value))
    options: dict[str, Any] = {}
    if repeats > 1 and _groups_heads(varlen_attn):
        options["enable_gqa"] = True
    elif repeats > 1:
        k, v = (x.repeat_interleave(repeats, dim=1) for x in (k, v))
    out: Tensor = varlen_attn(
        query, k, v, plan.cu_q, plan.cu_k, plan.max_q, plan.max_k,
        scale=scaling, window_size=(-1, 0), **options,
    )  # fmt: skip
    return out


@cache
def _groups_heads(varlen_attn: Callable[..., Any]) -> bool:
    """Whether it takes fewer key heads, as torch's does since 2.12; copies of them are spared."""
    return "enable_gqa" in inspect.signature(varlen_attn).parameters


@cache
def _torch_varlen() -> Callable[..., Any] | None:
    """Torch's varlen kernel, where this torch has the version with scale and window_size."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    known = inspect.signature(varlen_attn).parameters
    return varlen_attn if {"scale", "window_size"} <= set(known) else None


class FlexPlan:
    """FlexAttention's block mask: keys not behind the query, of its segment or an ancestor."""

    def __init__(self, layout: PackedLayout, device: torch.device) -> None:
        from torch.nn.attention.flex_attention import create_block_mask

        size = len(layout.lengths)
        lengths = torch.tensor(layout.lengths)
        segment = torch.arange(size).repeat_interleave(lengths).to(device)  # [T]
        sees = torch.eye(size, dtype=torch.bool)
        for i, chain in enumerate(layout.ancestors):
            sees[i, list(chain)] = True
        sees = sees.to(device)

        def visible(batch: Tensor, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
            return (k <= q) & sees[segment[q], segment[k]]

        total = len(segment)
        self.block_mask = create_block_mask(visible, None, None, total, total, device=str(device))


def flex_attention(
    query: Tensor, key: Tensor, value: Tensor, layout: PackedLayout, scaling: float, dropout: float
) -> Tensor:
    """FlexAttention: compiled on CUDA (no dropout); on CPU a slow reference without gradients."""
    if dropout:
        return sdpa_attention(query, key, value, layout, scaling, dropout)
    plan = cast(FlexPlan, layout.plan(FlexPlan, query.device))
    run = _flex(query.device.type == "cuda")
    q, k, v = (x.transpose(0, 1)[None] for x in (query, key, value))  # [1, H, T, D]
    gqa = q.shape[1] != k.shape[1]
    out = run(q, k, v, block_mask=plan.block_mask, scale=scaling, enable_gqa=gqa)
    return cast(Tensor, out)[0].transpose(0, 1)


@cache
def _flex(compiled: bool) -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention

    # each step has a length of its own, and some have fewer texts: one compilation is for all
    run = torch.compile(flex_attention, dynamic=True) if compiled else flex_attention
    return cast(Callable[..., Any], run)


def _pad(indices: list[Tensor]) -> Tensor:
    """Stack index vectors of different lengths, padded by 0 (rows that masks hide), [n, L]."""
    return torch.nn.utils.rnn.pad_sequence(indices, batch_first=True)
