"""Attention over a packed row by plain matrix products: fast where there is no varlen kernel.

Texts behind a prefix, of which a row may have several, are gathered into bins of nearly one length,
whose texts do not see each other. Their scores with the prefix's m keys are one product for all its
texts, those with the L keys of their own bins one batched product; one softmax goes over both. The
prefix is never copied for each text, so that its gradient is one product too, and grouped heads
need no copies of keys and values.

As in flash attention, scores, softmax and their gradients are fp32 at least, in which products of
half-precision inputs are exact; weights and the slopes of scores are rounded to the inputs' dtype
for the products that add them up. The weights are kept for the backward pass, so it is for texts of
some hundred tokens; `fits` says for which.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.utils.rnn import pad_sequence

from adept_llm.packing.layout import PackedLayout

# A bin is at most so many times as long as the texts in it; shorter ones have bins of their own. A
# group of bins costs some 50 operations a layer whatever its size, hence few groups.
LONGEST_BIN = 8
# Weights per key from which SDPA, which computes them anew, is as fast; measured.
MOST_WEIGHTS_PER_KEY = 256
# What a layer may keep for its backward pass.
MOST_BYTES = 64 * 2**20


class Group(NamedTuple):
    """Bins of like length that are computed at once.

    Attributes:
        prefix: Tokens in a stretch of the row that all see; 0 for none.
        start: Place of its first token.
        own: Row indices [n, L] of the bins' tokens, padded by 0.
        bias: [n, L, 1, L], 0 where a token sees another of its bin, else -inf.
        padding: Indices of own's places that are padding, or None.
    """

    prefix: int
    start: int
    own: Tensor
    bias: Tensor
    padding: Tensor | None


class DensePlan:
    """Prefixes, and the texts behind each of them in groups of bins.

    A prefix is a segment that stands behind no other. A text is a segment right behind it with all
    that stands behind that: its labels. The prefixes on themselves are texts behind an empty one.
    `back` [T] finds each token of the row among the groups' places.
    """

    def __init__(self, layout: PackedLayout, device: torch.device) -> None:
        roots = [i for i, parent in enumerate(layout.parents) if parent < 0]
        behind: dict[int, dict[int, list[int]]] = {root: {} for root in roots}
        for i, chain in enumerate(layout.ancestors):
            if chain and layout.lengths[i]:
                behind[chain[0]].setdefault((*chain, i)[1], []).append(i)
        alone = [[root] for root in roots if layout.lengths[root]]
        parts = [(0, 0, bins) for bins in _in_bins(layout, alone)]
        for root, texts in behind.items():
            prefix = (layout.lengths[root], layout.starts[root])
            parts += [(*prefix, bins) for bins in _in_bins(layout, list(texts.values()))]
        sees = _sees(layout)
        self.groups: list[Group] = []
        self.weights = self.keys = offset = 0
        back = torch.empty(sum(layout.lengths), dtype=torch.long)
        for m, start, bins in parts:
            own, segments = _places(layout, bins)
            filled = segments < len(layout.lengths)
            back[own[filled]] = offset + filled.flatten().nonzero()[:, 0]
            offset += own.numel()
            self.weights += own.numel() * (m + own.shape[1])
            self.keys += len(own) * (m + own.shape[1])
            padding = None if filled.all() else (~filled).flatten().nonzero()[:, 0].to(device)
            seen = sees[segments[:, :, None], segments[:, None]].tril()  # [n, L, L]
            bias = torch.zeros(seen.shape).masked_fill_(~seen, -torch.inf)[:, :, None]
            self.groups.append(Group(m, start, own.to(device), bias.to(device), padding))
        self.back = back.to(device)


def _in_bins(layout: PackedLayout, texts: list[list[int]]) -> list[list[list[int]]]:
    """Texts put together into bins, as long as the longest text; the bins in groups of one size."""
    groups: list[list[list[int]]] = []
    room: list[int] = []  # in each bin of the last group
    size = 0
    for text in sorted(texts, key=lambda t: -sum(layout.lengths[i] for i in t)):
        length = sum(layout.lengths[i] for i in text)
        if not groups or length * LONGEST_BIN < size:
            groups.append([])
            room, size = [], length
        fitting = next((n for n, left in enumerate(room) if left >= length), None)
        if fitting is None:
            groups[-1].append(list(text))
            room.append(size - length)
        else:
            groups[-1][fitting] += text
            room[fitting] -= length
    return groups


def _places(layout: PackedLayout, bins: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Row indices [n, L] of bins of segments, padded by 0, and whose each is, [n, L].

    Padding belongs to a segment of its own behind the last.
    """
    nobody = len(layout.lengths)
    rows = [torch.cat([layout.segment_tokens(i) for i in each]) for each in bins]
    lengths = [torch.tensor([layout.lengths[i] for i in each]) for each in bins]
    owners = [torch.tensor(e).repeat_interleave(n) for e, n in zip(bins, lengths, strict=True)]
    return (
        pad_sequence(rows, batch_first=True),
        pad_sequence(owners, batch_first=True, padding_value=nobody),
    )


def _sees(layout: PackedLayout) -> Tensor:
    """Which segment sees which, [S + 1, S + 1]; the last stands for padding, which sees itself."""
    sees = torch.eye(len(layout.lengths) + 1, dtype=torch.bool)
    for i, chain in enumerate(layout.ancestors):
        sees[i, list(chain)] = True
    return sees


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
            kept += weights
            outputs.append(_sums(*weights, *_keys(value, group)))
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
        d_keys.append(_transposed(shared, own, _grouped(query, heads, group)))
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
    """Softmax over the scores with the prefix and with a query's own bin, in the given dtype."""
    exact = _exact(q.dtype)
    m, (n, length) = group.prefix, group.own.shape
    scaled = q.to(exact) * scaling
    scores = scaled.new_empty(*q.shape[:2], m + length)  # [G, n * L * R, m + L]
    torch.bmm(scaled, shared.to(exact).transpose(1, 2), out=scores[..., :m])
    with_own = torch.bmm(scaled.view(len(own), -1, q.shape[2]), own.to(exact).transpose(1, 2))
    shape = (len(q), n, length, -1, length)  # [G, n, L, R, L]
    torch.add(with_own.view(shape), group.bias, out=scores[..., m:].view(shape))
    weights = scores.softmax(-1)
    parts = weights[..., :m], weights[..., m:]
    with_prefix, with_own = (p.to(q.dtype, memory_format=torch.contiguous_format) for p in parts)
    return with_prefix, with_own.view(len(own), -1, length)


def _slopes(g: Tensor, mean: Tensor, weights: Tensor, value: Tensor, scaling: float) -> Tensor:
    """Gradients by the unscaled scores with some keys, of the weights' shape and dtype.

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
    return slopes.to(weights.dtype).mul_(weights)


def _sums(with_prefix: Tensor, with_own: Tensor, shared: Tensor, own: Tensor) -> Tensor:
    """Sums of keys or values by weight, [G, n * L * R, D]."""
    out = torch.bmm(with_own, own).view(*with_prefix.shape[:2], -1)
    return out.baddbmm_(with_prefix, shared)


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
