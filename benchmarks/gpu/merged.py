"""A candidate kernel: each part once, merged by the log-sum-exp; no key is copied for a text.

Packed rows are read in two parts: each segment on itself, causally, and all texts as one sequence
of queries on the prefix. Outputs are added by the weight that exp(lse) gives each part. Backward,
each part's own kernel is told the merged output and the merged lse, which makes its gradients those
of one softmax over both. The kernels at present copy the prefix's keys for each text, and add their
gradients up row by row.

It is measured here before it is taken: with few keys in the prefix, few blocks of the GPU work on
the gradients of the prefix.
"""

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from adept_llm.packing import PackedLayout


class Span(NamedTuple):
    """Sequences of queries and of keys, by the ends of each: int32 [n + 1], and the longest."""

    queries: Tensor
    keys: Tensor
    longest_query: int
    longest_key: int
    causal: bool
    scaling: float


class Part(Protocol):
    """Attention of sequences; rows [T, H, D], log-sum-exp [H, T] in fp32."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, span: Span) -> tuple[Tensor, Tensor]:
        """Output and log-sum-exp."""

    def backward(
        self, g: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, span: Span
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of queries, keys and values."""


class FlashPart:
    """Torch's own flash attention. Its public varlen_attn has no gradient through the lse."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, span: Span) -> tuple[Tensor, Tensor]:
        """See `Part`."""
        found = torch.ops.aten._flash_attention_forward(  # noqa: SLF001 - read in 2.13
            q, k, v, *span[:4], 0.0, span.causal, False, scale=span.scaling
        )
        # without dropout any random state will do
        return found[0], found[1]

    def backward(
        self, g: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, span: Span
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Part`."""
        state = torch.zeros(2, dtype=torch.uint64, device=q.device)
        unused = torch.empty(0, device=q.device)
        found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten._flash_attention_backward(  # noqa: SLF001
            g, q, k, v, out, lse, *span[:4], 0.0, span.causal, state, unused, scale=span.scaling
        )
        return found


def merged_attention(
    query: Tensor, key: Tensor, value: Tensor, layout: PackedLayout, scaling: float, dropout: float
) -> Tensor:
    """A kernel for one prefix and texts behind it; without dropout."""
    assert not dropout
    return merged(query, key, value, layout, scaling, FlashPart())


def merged(
    query: Tensor, key: Tensor, value: Tensor, layout: PackedLayout, scaling: float, part: Part
) -> Tensor:
    """The kernel over one way of computing a part."""
    assert set(layout.parents[1:]) <= {0}, "for texts behind one prefix"
    spans = _spans(layout, query.device, scaling)
    out: Tensor = _Merged.apply(query, key, value, *spans, layout.lengths[0], part)  # type: ignore[no-untyped-call]
    return out


def _spans(layout: PackedLayout, device: torch.device, scaling: float) -> tuple[Span, Span]:
    """Of all segments on themselves, and of the texts on the prefix."""
    lengths = torch.tensor([n for n in layout.lengths if n])
    ends = torch.nn.functional.pad(lengths.cumsum(0), (1, 0)).to(device, torch.int32)
    longest, m, total = max(layout.lengths), layout.lengths[0], sum(layout.lengths)
    texts, prefix = (torch.tensor([0, n], dtype=torch.int32, device=device) for n in (total - m, m))
    return (
        Span(ends, ends, longest, longest, True, scaling),
        Span(texts, prefix, total - m, m, False, scaling),
    )


class _Merged(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, own: Span, shared: Span, m: int, part: Part
    ) -> Tensor:
        out, lse = part.forward(q, k, v, own)
        if m and shared.longest_query:
            of_prefix, lse_of_prefix = part.forward(q[m:], k[:m], v[:m], shared)
            both = torch.logaddexp(lse[:, m:], lse_of_prefix)
            weight = (lse_of_prefix - both).exp().T[..., None]  # [T - m, H, 1]
            out[m:] = torch.lerp(out[m:].to(lse.dtype), of_prefix.to(lse.dtype), weight).to(
                out.dtype
            )
            lse[:, m:] = both
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.own, ctx.shared, ctx.m, ctx.part = own, shared, m, part
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, lse = ctx.saved_tensors
        (g,), m = (slope.contiguous() for slope in slopes), ctx.m
        dq, dk, dv = ctx.part.backward(g, q, k, v, out, lse, ctx.own)
        if m and ctx.shared.longest_query:
            told = (g[m:], q[m:], k[:m], v[:m], out[m:], lse[:, m:].contiguous())
            of_prefix = ctx.part.backward(*told, ctx.shared)
            for whole, rows, more in zip(
                (dq, dk, dv), (slice(m, None), slice(m), slice(m)), of_prefix, strict=True
            ):
                whole[rows] += more
        return dq, dk, dv, None, None, None, None
