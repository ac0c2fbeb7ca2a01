"""Attention over a packed row by plain matrix products: fast where there is no varlen kernel.

Texts behind a prefix, of which a row may have several, are gathered into padded rows. Their scores
with the prefix's m keys are one product for all its texts, those with their own L keys one batched
product; one softmax goes over both. The prefix is never copied for each text, so that its gradient
is one product too, and grouped heads need no copies of keys and values.

All is computed in fp32 at least: products of half-precision inputs are exact in it, and results are
rounded once. The weights are kept for the backward pass, so it is for texts of some hundred tokens;
`fits` says for which.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.utils.rnn import pad_sequence

from adept_llm.packing.layout import PackedLayout

# Part of a group's places that may be padding; texts of other lengths form further groups.
MOST_PADDING = 0.1
# Weights per key from which SDPA, which computes them anew in half precision, is faster; measured.
MOST_WEIGHTS_PER_KEY = 160
# What a layer may keep for its backward pass.
MOST_BYTES = 64 * 2**20


class Group(NamedTuple):
    """Units of like length that are computed at once; a unit is a text with its labels.

    Attributes:
        prefix: Tokens in a stretch of the row that all see; 0 for none.
        start: Place of its first token.
        own: Row indices [n, L] of the units' tokens, padded by 0.
        bias: [1 or n, L, 1, L], 0 where a token sees another of its unit, else -inf.
        padding: Indices of own's places that are padding, or None.
    """

    prefix: int
    start: int
    own: Tensor
    bias: Tensor
    padding: Tensor | None


class DensePlan:
    """Prefixes, and the units behind each of them in groups.

    A prefix is a segment that stands behind no other, its units are the trees right behind it. The
    prefixes on themselves are units behind an empty one. `back` [T] finds each token of the row
    among the groups' places.
    """

    def __init__(self, layout: PackedLayout, device: torch.device) -> None:
        roots = [i for i, parent in enumerate(layout.parents) if parent < 0]
        behind: dict[int, dict[int, list[int]]] = {root: {} for root in roots}
        for i, chain in enumerate(layout.ancestors):
            if chain and layout.lengths[i]:
                behind[chain[0]].setdefault((*chain, i)[1], []).append(i)
        alone = [[root] for root in roots if layout.lengths[root]]
        parts = [(0, 0, members) for members in _alike(layout, alone)]
        for root, units in behind.items():
            prefix = (layout.lengths[root], layout.starts[root])
            parts += [(*prefix, members) for members in _alike(layout, list(units.values()))]
        self.groups: list[Group] = []
        self.weights = self.keys = offset = 0
        back = torch.empty(sum(layout.lengths), dtype=torch.long)
        for m, start, members in parts:
            rows = [torch.cat([layout.segment_tokens(i) for i in unit]) for unit in members]
            own = pad_sequence(rows, batch_first=True)
            filled = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True).bool()
            back[own[filled]] = offset + filled.flatten().nonzero()[:, 0]
            offset += own.numel()
            self.weights += own.numel() * (m + own.shape[1])
            self.keys += len(own) * (m + own.shape[1])
            padding = None if filled.all() else (~filled).flatten().nonzero()[:, 0].to(device)
            bias = _bias(layout, members, own.shape[1]).to(device)
            self.groups.append(Group(m, start, own.to(device), bias, padding))
        self.back = back.to(device)


def _alike(layout: PackedLayout, units: list[list[int]]) -> list[list[list[int]]]:
    """Units in groups of like length."""
    groups: list[list[list[int]]] = []
    longest = used = 0
    for unit in sorted(units, key=lambda u: -sum(layout.lengths[i] for i in u)):
        size = sum(layout.lengths[i] for i in unit)
        if groups and used + size >= (1 - MOST_PADDING) * longest * (len(groups[-1]) + 1):
            groups[-1].append(unit)
            used += size
        else:
            groups.append([unit])
            longest = used = size
    return groups


def _bias(layout: PackedLayout, units: list[list[int]], length: int) -> Tensor:
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    sees = [causal]
    if any(len(unit) > 1 for unit in units):
        sees = [causal.clone() for _ in units]
        for seen, unit in zip(sees, units, strict=True):
            ends = torch.tensor([layout.lengths[i] for i in unit]).cumsum(0).tolist()
            spans = {i: slice(e - layout.lengths[i], e) for i, e in zip(unit, ends, strict=True)}
            for i in unit:
                for other in set(unit) - {i, *layout.ancestors[i]}:
                    seen[spans[i], spans[other]] = False
    return torch.zeros(len(sees), length, length).masked_fill(~torch.stack(sees), -torch.inf)[
        :, :, None
    ]


def fits(query: Tensor, layout: PackedLayout) -> bool:
    """Whether a layout is short enough for `dense_attention` to be the faster one."""
    plan = cast(DensePlan, layout.plan(DensePlan, query.device))
    size = plan.weights * query.shape[1] * _exact(query.dtype).itemsize
    return plan.weights <= MOST_WEIGHTS_PER_KEY * plan.keys and size <= MOST_BYTES


def dense_attention(
    query: Tensor, key: Tensor, value: Tensor, layout: PackedLayout, scaling: float, dropout: float
) -> Tensor:
    """Attention by products with the prefix and with a text's own keys; without dropout."""
    assert not dropout
    plan = cast(DensePlan, layout.plan(DensePlan, query.device))
    with _in_given_precision(query):
        out: Tensor = _Dense.apply(query, key, value, plan, scaling)  # type: ignore[no-untyped-call]
    return out


class _Dense(torch.autograd.Function):
    """With a backward pass that gathers, where autograd would add rows up one by one.

    Shapes inside, G key heads serving R query heads each: queries [G, n * L * R, D]; keys and
    values [G, m, D] of the prefix and [G * n, L, D] of the units; weights [G, n * L * R, m + L].
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, plan: DensePlan, scaling: float
    ) -> Tensor:
        heads, kept, outputs = key.shape[1], [], []
        for group in plan.groups:
            n, length = group.own.shape
            q = _grouped(query, heads, group).mul_(scaling)
            scores = _products(q, *_keys(key, group))
            rows = scores.view(heads, n, length, -1, scores.shape[-1])
            rows[..., group.prefix :].add_(group.bias)
            weights = scores.softmax(-1)
            kept.append(weights)
            outputs.append(_sums(weights, *_keys(value, group)))
        out = _in_row(outputs, plan, query)
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
    """Of queries, keys and values, given the weights of each group."""
    heads = key.shape[1]
    # [T, H, 1]: what softmax subtracts, the weighted mean of a query's gradients
    mean = (grad.to(_exact(grad.dtype)) * out).sum(-1, keepdim=True)
    d_queries, d_keys, d_values = [], [], []
    for group, weights in zip(plan.groups, kept, strict=True):
        q = _grouped(query, heads, group).mul_(scaling)
        g = _grouped(grad, heads, group, padding=0)
        d_scores = _products(g, *_keys(value, group))
        d_scores.sub_(_grouped(mean, heads, group, padding=0)).mul_(weights)
        d_queries.append(_sums(d_scores, *_keys(key, group)).mul_(scaling))
        d_keys.append(_transposed(d_scores, q, group))
        d_values.append(_transposed(weights, g, group))
    return (
        _in_row(d_queries, plan, query),
        _in_row([own for _, own in d_keys], plan, key, [shared for shared, _ in d_keys]),
        _in_row([own for _, own in d_values], plan, value, [shared for shared, _ in d_values]),
    )


def _in_given_precision(x: Tensor) -> AbstractContextManager[Any]:
    """Without autocast, which would round to half precision; tensors without storage know none."""
    kind = x.device.type
    return nullcontext() if kind == "meta" else torch.autocast(kind, enabled=False)


def _exact(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _grouped(x: Tensor, heads: int, group: Group, padding: float | None = None) -> Tensor:
    """A group's rows of [T, H, D], by key head, [heads, n * L * H / heads, D]; a copy."""
    rows = x.index_select(0, group.own.flatten())
    if padding is not None and group.padding is not None:
        rows.index_fill_(0, group.padding, padding)
    rows = rows.view(len(rows), heads, -1, x.shape[-1]).transpose(0, 1)
    exact = _exact(x.dtype)
    return rows.to(exact, memory_format=torch.contiguous_format, copy=True).flatten(1, 2)


def _keys(x: Tensor, group: Group) -> tuple[Tensor, Tensor]:
    """Keys or values of the prefix [G, m, D] and of the units [G * n, L, D]."""
    prefix = x[group.start : group.start + group.prefix]
    shared = prefix.transpose(0, 1).to(_exact(x.dtype))
    return shared, _grouped(x, x.shape[1], group).view(-1, group.own.shape[1], x.shape[-1])


def _products(rows: Tensor, shared: Tensor, own: Tensor) -> Tensor:
    """Of each row with the keys of the prefix, and behind them with those of its unit."""
    m, width = shared.shape[1], own.shape[2]
    out = rows.new_empty(*rows.shape[:2], m + own.shape[1])
    torch.bmm(rows, shared.transpose(1, 2), out=out[..., :m])
    of_units = out.view(len(own), -1, out.shape[-1])[..., m:]
    torch.bmm(rows.view(len(own), -1, width), own.transpose(1, 2), out=of_units)
    return out


def _sums(weights: Tensor, shared: Tensor, own: Tensor) -> Tensor:
    """Weighted sums of values, [G, n * L * R, D]."""
    m = shared.shape[1]
    of_units = weights.view(len(own), -1, weights.shape[-1])[..., m:]
    out = torch.bmm(of_units, own).view(*weights.shape[:2], -1)
    return out.baddbmm_(weights[..., :m], shared)


def _transposed(weights: Tensor, rows: Tensor, group: Group) -> tuple[Tensor, Tensor]:
    """Sums over queries: [G, m, D] for the prefix's keys and [G, n * L, D] for the units'."""
    m, heads, width = group.prefix, *rows.shape[::2]
    units = heads * len(group.own)
    of_units = weights.view(units, -1, weights.shape[-1])[..., m:].transpose(1, 2)
    own = torch.bmm(of_units, rows.view(units, -1, width)).view(heads, -1, width)
    return torch.bmm(weights[..., :m].transpose(1, 2), rows), own


def _in_row(
    pieces: list[Tensor], plan: DensePlan, like: Tensor, shared: list[Tensor] | None = None
) -> Tensor:
    """Groups' rows by head as the packed row [T, H, D], rounded; those of prefixes are added."""
    rows = [
        piece.view(len(piece), group.own.numel(), -1, piece.shape[-1]).transpose(0, 1).flatten(1, 2)
        for piece, group in zip(pieces, plan.groups, strict=True)
    ]
    row = torch.cat(rows).index_select(0, plan.back)
    for piece, group in zip(shared or (), plan.groups, strict=False):
        row[group.start : group.start + group.prefix] += piece.transpose(0, 1)
    return row.to(like.dtype)
