"""The candidate kernel on the CPU: two parts in plain torch, merged, against one softmax."""

import torch

from adept_llm.packing import PackedLayout
from benchmarks.gpu.kernels import reference
from benchmarks.gpu.merged import merged


class PlainPart:
    """What flash attention computes of sequences; backward by its formula, from out and lse."""

    def pieces(self, span):
        ends = zip(span.queries[:-1], span.queries[1:], span.keys[:-1], span.keys[1:], strict=True)
        assert span.longest_query == span.queries.diff().max()
        assert span.longest_key == span.keys.diff().max()
        for a, b, c, d in ends:
            mask = torch.ones(b - a, d - c, dtype=torch.bool)
            yield slice(a, b), slice(c, d), mask.tril(d - c - (b - a)) if span.causal else mask

    def scores(self, q, k, mask, span):
        k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
        products = torch.einsum("qhd,khd->hqk", q, k) * span.scaling
        return products.masked_fill(~mask, -torch.inf)

    def forward(self, q, k, v, span):
        out, lse = torch.empty_like(q), q.new_empty(q.shape[1], len(q))
        for i, j, mask in self.pieces(span):
            scores = self.scores(q[i], k[j], mask, span)
            lse[:, i] = scores.logsumexp(-1)
            values = v[j].repeat_interleave(q.shape[1] // v.shape[1], 1)
            out[i] = torch.einsum("hqk,khd->qhd", scores.softmax(-1), values)
        return out, lse

    def backward(self, g, q, k, v, out, lse, span):
        repeats = q.shape[1] // k.shape[1]
        dq, dk, dv = (torch.zeros_like(x) for x in (q, k, v))
        mean = (g * out).sum(-1).T[..., None]
        for i, j, mask in self.pieces(span):
            weights = (self.scores(q[i], k[j], mask, span) - lse[:, i, None]).exp()
            keys, values = (x[j].repeat_interleave(repeats, 1) for x in (k, v))
            slopes = torch.einsum("qhd,khd->hqk", g[i], values) - mean[:, i]
            slopes = weights * slopes * span.scaling
            dq[i] = torch.einsum("hqk,khd->qhd", slopes, keys)
            for whole, left, right in ((dk, slopes, q[i]), (dv, weights, g[i])):
                each = torch.einsum("hqk,qhd->khd", left, right)
                whole[j] += each.unflatten(1, (-1, repeats)).sum(2)
        return dq, dk, dv


def test_parts_merged_by_their_log_sum_exp_are_one_softmax():
    """With a prefix and without one, grouped heads, an empty text: output and gradients."""
    for prefix, lengths in ((5, [3, 1, 0, 7]), (0, [4, 2])):
        layout = PackedLayout.shared_prefix(prefix, lengths)
        generator = torch.Generator().manual_seed(0)
        total = sum(layout.lengths)
        q, k, v = (
            torch.randn(total, n, 8, generator=generator, dtype=torch.float64).requires_grad_()
            for n in (4, 2, 2)
        )
        weights = torch.randn(q.shape, generator=generator, dtype=torch.float64)
        expected = reference(q, k, v, layout, 0.3, 0.0)
        found = merged(q, k, v, layout, 0.3, PlainPart())
        assert torch.allclose(found, expected, atol=1e-12)
        slopes = [
            torch.autograd.grad((out * weights).sum(), (q, k, v)) for out in (expected, found)
        ]
        for one, other in zip(*slopes, strict=True):
            assert torch.allclose(one, other, atol=1e-12)
