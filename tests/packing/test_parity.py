"""INV 5: packed loss and gradients equal the padded ones, for every supported architecture."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adept_llm.adapters import METHODS
from adept_llm.packing import PackedLayout, why_not_packed
from adept_llm.packing.kernels import VarlenPlan, flex_attention, sdpa_attention
from tests.builders import PACKED, adapted, both, make_examples, small_model


def assert_equal(padded, packed, tolerance=1e-5):
    assert abs(padded[0] - packed[0]) < tolerance * abs(padded[0])
    assert padded[1].keys() == packed[1].keys() != set()
    for name, gradient in padded[1].items():
        error = (gradient - packed[1][name]).norm().item()
        assert error <= tolerance * gradient.norm().item(), f"{name}: {error}"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", PACKED)
def test_packed_equals_padded(name, method):
    model = adapted(name, method)
    assert_equal(*both(model, make_examples([(3, 2), (9, 1), (1, 4), (6, 3)])))


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(PACKED),
    m=st.integers(0, 7),
    lengths=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 4)), min_size=1, max_size=5),
)
def test_packed_equals_padded_for_any_lengths(name, m, lengths):
    # with no prefix at all the first token has nothing to be predicted from
    lengths = [(max(p, 1) if m == 0 else p, t) for p, t in lengths]
    assert_equal(*both(adapted(name, m=m), make_examples(lengths)), tolerance=3e-5)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("name", ["llama-grouped", "gpt2", "gemma3", "opt"])
def test_gradient_checkpointing_changes_nothing(name, reentrant):
    examples = make_examples([(3, 2), (9, 1), (6, 3)])
    plain = both(adapted(name), examples)
    model = adapted(name)
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    model.train()  # checkpointing acts in training mode only
    checkpointed = both(model, examples)
    assert_equal(plain[0], checkpointed[0], 1e-5)
    assert_equal(plain[0], checkpointed[1], 1e-5)


def test_bf16_within_its_own_error():
    examples = make_examples([(3, 2), (9, 1), (6, 3)])
    padded, packed = both(adapted("llama-grouped", dtype=torch.bfloat16), examples)
    exact, _ = both(adapted("llama-grouped"), examples)
    assert abs(padded[0] - packed[0]) <= 2 * abs(padded[0] - exact[0]) + 2**-7 * abs(exact[0])


def test_soft_capping_and_short_windows_are_refused():
    assert "gemma2 soft-caps" in why_not_packed(small_model("gemma2").config, 10)
    config = small_model("gemma3").config
    config.sliding_window = 8
    assert why_not_packed(config, 8) is None
    assert "window of 8" in why_not_packed(config, 9)


def dense_reference(q, k, v, layout, scaling):
    """Attention by an explicit [T, T] mask in float64."""
    total = q.shape[0]
    mask = torch.zeros(total, total, dtype=torch.bool)
    for i in range(len(layout.lengths)):
        own = layout.segment_tokens(i)
        for n, row in enumerate(own.tolist()):
            mask[row, own[: n + 1]] = True
            mask[row, layout.ancestor_tokens(i)] = True
    repeats = q.shape[1] // k.shape[1]
    q, k, v = (x.double().transpose(0, 1) for x in (q, k, v))
    k, v = (x.repeat_interleave(repeats, 0) for x in (k, v))
    scores = (q @ k.transpose(1, 2) * scaling).masked_fill(~mask, float("-inf"))
    return (scores.softmax(-1) @ v).transpose(0, 1)


def varlen_reference(q, k, v, layout, scaling, dropout):
    """What a causal varlen kernel computes from `VarlenPlan`: ends of keys and queries aligned."""
    plan = layout.plan(VarlenPlan, q.device)
    k, v = k[plan.key_index], v[plan.key_index]
    repeats = q.shape[1] // k.shape[1]
    out = []
    for i in range(len(plan.cu_q) - 1):
        qi = q[plan.cu_q[i] : plan.cu_q[i + 1]].transpose(0, 1)
        ki, vi = (
            x[plan.cu_k[i] : plan.cu_k[i + 1]].transpose(0, 1).repeat_interleave(repeats, 0)
            for x in (k, v)
        )
        nq, nk = qi.shape[1], ki.shape[1]
        assert nq <= plan.max_q and nk <= plan.max_k
        causal = torch.ones(nq, nk, dtype=torch.bool).tril(nk - nq)
        scores = (qi @ ki.transpose(1, 2) * scaling).masked_fill(~causal, float("-inf"))
        out.append((scores.softmax(-1) @ vi).transpose(0, 1))
    return torch.cat(out)


@st.composite
def layouts(draw):
    lengths = draw(st.lists(st.integers(0, 6), min_size=1, max_size=7))
    parents = [draw(st.integers(-1, i - 1)) for i in range(len(lengths))]
    if not sum(lengths):
        lengths[0] = 1
    return PackedLayout(tuple(lengths), tuple(parents))


@pytest.mark.parametrize("kernel", [sdpa_attention, varlen_reference, flex_attention])
@settings(max_examples=30, deadline=None)
@given(layout=layouts(), groups=st.sampled_from([1, 2, 4]))
def test_kernels_on_any_tree_of_segments(kernel, layout, groups):
    generator = torch.Generator().manual_seed(0)
    total = sum(layout.lengths)
    q = torch.randn(total, 4, 16, generator=generator)
    k, v = (torch.randn(total, groups, 16, generator=generator) for _ in range(2))
    with torch.no_grad():
        out = kernel(q, k, v, layout, 0.3, 0.0)
    assert torch.allclose(out.double(), dense_reference(q, k, v, layout, 0.3), atol=1e-5)
