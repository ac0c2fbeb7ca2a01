"""Attention over a packed row by plain matrix products: fast where there is no varlen kernel.

Texts behind a prefix, of which a row may have several, are gathered into bins of nearly one length,
whose texts do not see each other. Their scores with the prefix's m keys are one product for all its
texts, those with the L keys of their own bins one batched product; one softmax goes over both. The
prefix is never copied for each text, so that its gradient is one product too, and grouped heads
need no copies of keys and values.

Scores, softmax and their gradients are fp32 at least, in which products of half-precision inputs
are exact, and so are outputs and the queries' gradients, rounded once. As in flash attention, what
is added up over queries, for keys and values, is rounded to the inputs' dtype before. So are the
weights that are kept for the backward pass; it is for texts of some hundred tokens, `fits` says
for which.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from adept_llm.packing.bins import DensePlan, Group
from adept_llm.packing.layout import PackedLayout

# Weights per key from which SDPA, which computes them anew, is as fast; measured.
MOST_WEIGHTS_PER_KEY = 256
# What a layer may keep for its backward pass.
MOST_BYTES = 64 * 2**20


def fits(query: Tensor, layout: PackedLayout) -> bool:
    """Whether a layout is short enough for `dense_attention` to be the faster one."""
    plan = cast(DensePlan, layout.plan(DensePlan, query.device))
    size = plan.weights * query.shape[1] * query.dtype.itemsize
    return plan.weights <= MOST_WEIGHTS_PER_KEY * plan.keys and size <= MOST_BYTES


def dense_attention(
    query: Tensor, key: Tensor, value: Tensor, layout: PackedLayout, scaling: float, dropout: float
) -> Tensor:
    """Attention by products with the prefix and with a bin's own keys; without dropout."""
    assert not dropout
    plan = cast(DensePlan, layout.plan(DensePlan, query.device))
    with _in_given_precision(query):
        out: Tensor = _Dense.apply(query, key, value, plan, scaling)  # type: ignore[no-untyped-call]
    return out


class _Dense(torch.autograd.Function):
    """With a backward pass that gathers, where autograd would add rows up one by one.

    Shapes inside, G key heads serving R query heads each: queries [G, n * L * R, D]; keys and
    values [G, m, D] of the prefix and [G * n, L, D] of the bins; weights [G, n * L * R, m] and
    [G * n, L * R, L].
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, plan: DensePlan, scaling: float
    ) -> Tensor:
        heads = key.shape[1]
        kept: list[Tensor] = []
        outputs: list[Tensor] = []
        for group in plan.groups:
            weights = _weights(_grouped(query, heads, group), *_keys(key, group), group, scaling)
            outputs.append(_sums(*weights, *_keys(value, group)))
            kept += [each.to(value.dtype) for each in weights]
        out = _in_row(outputs, plan)
        ctx.plan, ctx.scaling = plan, scaling
        ctx.save_for_backward(query, key, value, out, *kept)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        with _in_given_precision(grad):
            gradients = _gradients(grad, *ctx.saved_tensors, plan=ctx.plan, scaling=ctx.scaling)
        return *gradients, None, None


def _gradients(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    *kept: Tensor,
    plan: DensePlan,
    scaling: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Of queries, keys and values, given the weights of each group, with prefix and own."""
    heads = key.shape[1]
    # [T, H, 1]: what softmax subtracts, the weighted mean of a query's gradients
    mean = (grad.to(_exact(grad.dtype)) * out).sum(-1, keepdim=True)
    d_queries, d_keys, d_values = [], [], []
    for group, with_prefix, with_own in zip(plan.groups, kept[::2], kept[1::2], strict=True):
        g = _grouped(grad, heads, group, padding=0)
        means = _grouped(mean, heads, group, padding=0)
        values = _keys(value, group)
        shared, own = (
            _slopes(g, means, *each, scaling)
            for each in zip((with_prefix, with_own), values, strict=True)
        )
        d_queries.append(_sums(shared, own, *_keys(key, group)))
        rounded = shared.to(key.dtype), own.to(key.dtype)
        d_keys.append(_transposed(*rounded, _grouped(query, heads, group)))
        d_values.append(_transposed(with_prefix, with_own, g))
    return (
        _in_row(d_queries, plan),
        _in_row([own for _, own in d_keys], plan, [shared for shared, _ in d_keys]),
        _in_row([own for _, own in d_values], plan, [shared for shared, _ in d_values]),
    )


def _in_given_precision(x: Tensor) -> AbstractContextManager[Any]:
    """Without autocast, which would round to half precision; tensors without storage know none."""
    kind = x.device.type
    return nullcontext() if kind == "meta" else torch.autocast(kind, enabled=False)


def _exact(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _grouped(x: Tensor, heads: int, group: Group, padding: float | None = None) -> Tensor:
    """A group's rows of [T, H, D], by key head, [heads, n * L * H / heads, D]."""
    rows = x.index_select(0, group.own.flatten())
    if padding is not None and group.padding is not None:
        rows.index_fill_(0, group.padding, padding)
    by_head = rows.view(len(rows), heads, -1, x.shape[-1]).transpose(0, 1)
    return by_head.contiguous().flatten(1, 2)


def _keys(x: Tensor, group: Group) -> tuple[Tensor, Tensor]:
    """Keys or values of the prefix [G, m, D] and of the bins [G * n, L, D]."""
    shared = x[group.start : group.start + group.prefix].transpose(0, 1)
    return shared, _grouped(x, x.shape[1], group).view(-1, group.own.shape[1], x.shape[-1])


def _weights(
    q: Tensor, shared: Tensor, own: Tensor, group: Group, scaling: float
) -> tuple[Tensor, Tensor]:
    """Softmax over the scores with the prefix and with a query's own bin, exact."""
    exact = _exact(q.dtype)
    m, (n, length) = group.prefix, group.own.shape
    scaled = q.to(exact) * scaling
    scores = scaled.new_empty(*q.shape[:2], m + length)  # [G, n * L * R, m + L]
    torch.bmm(scaled, shared.to(exact).transpose(1, 2), out=scores[..., :m])
    shape = (len(q), n, length, -1, length)  # [G, n, L, R, L]
    of_bins = torch.bmm(scaled.view(len(own), -1, q.shape[2]), own.to(exact).transpose(1, 2))
    torch.add(of_bins.view(shape), group.bias, out=scores[..., m:].view(shape))
    del of_bins, scaled  # what follows is the peak of a layer
    scores = scores.softmax(-1)
    with_prefix, with_own = scores[..., :m].contiguous(), scores[..., m:].contiguous()
    return with_prefix, with_own.view(len(own), -1, length)


def _slopes(g: Tensor, mean: Tensor, weights: Tensor, value: Tensor, scaling: float) -> Tensor:
    """Gradients by the unscaled scores with some keys, of the weights' shape, exact.

    Args:
        g: gradients of the outputs, [G, n * L * R, D].
        mean: what softmax subtracts, exact, [G, n * L * R, 1].
        weights: softmax's, by prefix or by bin.
        value: the values of the keys.
        scaling: of the scores.
    """
    rows, means = (x.reshape(len(value), -1, x.shape[-1]) for x in (g, mean))
    exact = rows.to(mean.dtype), value.to(mean.dtype).transpose(1, 2)
    slopes = torch.baddbmm(means, *exact, beta=-scaling, alpha=scaling)
    return slopes.mul_(weights)


def _sums(with_prefix: Tensor, with_own: Tensor, shared: Tensor, own: Tensor) -> Tensor:
    """Sums of keys or values by exact weight, rounded once, [G, n * L * R, D]."""
    exact = with_own.dtype
    out = torch.bmm(with_own, own.to(exact)).view(*with_prefix.shape[:2], -1)
    return out.baddbmm_(with_prefix, shared.to(exact)).to(own.dtype)


def _transposed(with_prefix: Tensor, with_own: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over queries: [G, m, D] for the prefix's keys and [G, n * L, D] for the bins'."""
    by_bin = rows.view(len(with_own), -1, rows.shape[-1])
    own = torch.bmm(with_own.transpose(1, 2), by_bin).view(len(rows), -1, rows.shape[-1])
    return torch.bmm(with_prefix.transpose(1, 2), rows), own


def _in_row(pieces: list[Tensor], plan: DensePlan, shared: list[Tensor] | None = None) -> Tensor:
    """Groups' rows by head as the packed row [T, H, D]; those of prefixes are added."""
    rows = [
        piece.view(len(piece), group.own.numel(), -1, piece.shape[-1]).transpose(0, 1).flatten(1, 2)
        for piece, group in zip(pieces, plan.groups, strict=True)
    ]
    row = torch.cat(rows).index_select(0, plan.back)
    for piece, group in zip(shared or (), plan.groups, strict=False):
        row[group.start : group.start + group.prefix] += piece.transpose(0, 1)
    return row
