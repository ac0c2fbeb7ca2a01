"""Kernels: each computes attention over any tree of segments, and the fastest at hand is taken."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adept_llm.packing import PackedLayout, attention, dense_prefix, kernels
from adept_llm.packing.bins import DensePlan
from adept_llm.packing.dense_prefix import dense_attention
from adept_llm.packing.kernels import (
    FlexPlan,
    SdpaPlan,
    VarlenPlan,
    choose_kernel,
    flash_attention,
    flex_attention,
    sdpa_attention,
    torch_varlen_attention,
)
from tests.packing.trees import layouts, seen_by_token

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
find_torchs_varlen = kernels._torch_varlen.__wrapped__  # without its cache


def dense_reference(q, k, v, layout, scaling):
    """Attention by an explicit [T, T] mask in float64."""
    mask = torch.zeros(len(q), len(q), dtype=torch.bool)
    for row, seen in enumerate(seen_by_token(layout)):
        mask[row, seen] = True
    repeats = q.shape[1] // k.shape[1]
    q, k, v = (x.double().transpose(0, 1) for x in (q, k, v))
    k, v = (x.repeat_interleave(repeats, 0) for x in (k, v))
    scores = (q @ k.transpose(1, 2) * scaling).masked_fill(~mask, float("-inf"))
    return (scores.softmax(-1) @ v).transpose(0, 1)


class Varlen:
    """What flash-attn's and torch's varlen kernels compute on CUDA, and what they were told.

    Causal with the ends of keys and queries aligned; flash-attn's takes fewer key heads, torch's
    where it is told so.
    """

    def __init__(self):
        self.told = {}

    def __call__(self, q, k, v, cu_q, cu_k, max_q, max_k, **told):
        self.told = told
        scaling = told.get("softmax_scale", told.get("scale"))
        grouped = "softmax_scale" in told or told.get("enable_gqa", False)
        assert cu_q.dtype == cu_k.dtype == torch.int32 and cu_q[0] == cu_k[0] == 0
        assert cu_q[-1] == len(q) and cu_k[-1] == len(k) == len(v)
        assert max_q == cu_q.diff().max() and max_k == cu_k.diff().max()
        repeats = q.shape[1] // k.shape[1]
        assert repeats == 1 or grouped
        out = []
        for i in range(len(cu_q) - 1):
            qi = q[cu_q[i] : cu_q[i + 1]].transpose(0, 1)
            ki, vi = (
                x[cu_k[i] : cu_k[i + 1]].transpose(0, 1).repeat_interleave(repeats, 0)
                for x in (k, v)
            )
            nq, nk = qi.shape[1], ki.shape[1]
            causal = torch.ones(nq, nk, dtype=torch.bool).tril(nk - nq)
            scores = (qi @ ki.transpose(1, 2) * scaling).masked_fill(~causal, float("-inf"))
            out.append((scores.softmax(-1) @ vi).transpose(0, 1))
        return torch.cat(out)


@pytest.fixture(scope="module")
def varlen():
    """A machine with both varlen kernels, played on the CPU."""
    played = Varlen()
    flash_attn = ModuleType("flash_attn")
    flash_attn.flash_attn_varlen_func = played
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "flash_attn", flash_attn)
        patch.setattr(kernels, "_torch_varlen", lambda: played)
        yield played


def heads(total, groups, seed=0):
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(total, 4, 16, generator=generator)
    return q, *(torch.randn(total, groups, 16, generator=generator) for _ in range(2))


def assert_as_dense(kernel, layout, groups):
    q, k, v = heads(sum(layout.lengths), groups)
    with torch.no_grad():
        out = kernel(q, k, v, layout, 0.3, 0.0)
    assert torch.allclose(out.double(), dense_reference(q, k, v, layout, 0.3), atol=1e-5)


GROUPS = st.sampled_from([1, 2, 4])
CLOSE = [sdpa_attention, dense_attention, flash_attention, torch_varlen_attention]


@pytest.mark.parametrize("kernel", CLOSE)
@settings(max_examples=30, deadline=None)
@given(layout=layouts(), groups=GROUPS)
def test_kernels_on_any_tree_of_segments(varlen, kernel, layout, groups):
    assert_as_dense(kernel, layout, groups)


@settings(max_examples=8, deadline=None)
@given(layout=layouts(), groups=GROUPS)
def test_flex_attention_on_any_tree_of_segments(layout, groups):
    """Slow on CPUs, hence fewer."""
    assert_as_dense(flex_attention, layout, groups)


@pytest.mark.parametrize("kernel", CLOSE)
@settings(max_examples=10, deadline=None)
@given(layout=layouts(), groups=GROUPS)
def test_gradients_on_any_tree_of_segments(varlen, kernel, layout, groups):
    inputs = [x.requires_grad_() for x in heads(sum(layout.lengths), groups)]
    out = dense_reference(*inputs, layout, 0.3)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    expected = torch.autograd.grad((out * weights).sum(), inputs)
    found = torch.autograd.grad((kernel(*inputs, layout, 0.3, 0.0) * weights).sum(), inputs)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_a_dropout_of_1_drops_all():
    layout = PackedLayout.shared_prefix(3, [2, 4])
    q, k, v = heads(9, 2)
    assert not sdpa_attention(q, k, v, layout, 0.3, 1.0).any()
    assert sdpa_attention(q, k, v, layout, 0.3, 0.0).any()


@pytest.mark.parametrize("kernel", [torch_varlen_attention, flex_attention])
def test_kernels_without_dropout_hand_over_to_sdpa(varlen, monkeypatch, kernel):
    told = []
    monkeypatch.setattr(kernels, "sdpa_attention", lambda *given: told.append(given))
    given = (*heads(9, 2), PackedLayout.shared_prefix(3, [2, 4]), 0.3, 0.5)
    kernel(*given)
    (got,) = told
    assert len(got) == len(given) and all(a is b for a, b in zip(got, given, strict=True))


def test_torchs_varlen_kernel_gets_no_copies_of_grouped_heads(varlen, monkeypatch):
    """Eight times the keys and values, for Llama-3's 70B, of each text."""

    def grouping(q, k, v, cu_q, cu_k, max_q, max_k, *, scale, window_size, enable_gqa=False):
        assert enable_gqa and k.shape[1] == v.shape[1] == 2
        told = {"scale": scale, "window_size": window_size, "enable_gqa": enable_gqa}
        return varlen(q, k, v, cu_q, cu_k, max_q, max_k, **told)

    monkeypatch.setattr(kernels, "_torch_varlen", lambda: grouping)
    given = (*heads(9, 2), PackedLayout.shared_prefix(3, [2, 4]), 0.3)
    found = torch_varlen_attention(*given, 0.0).double()
    assert torch.allclose(found, dense_reference(*given), atol=1e-5)


def test_varlen_kernels_are_told_to_be_causal(varlen):
    layout = PackedLayout.shared_prefix(3, [2, 4])
    q, k, v = heads(9, 2)
    flash_attention(q, k, v, layout, 0.3, 0.25)
    assert varlen.told == {"dropout_p": 0.25, "softmax_scale": 0.3, "causal": True}
    torch_varlen_attention(q, k, v, layout, 0.3, 0.0)
    assert varlen.told == {"scale": 0.3, "window_size": (-1, 0)}


PLANS = [
    (sdpa_attention, SdpaPlan),
    (dense_attention, DensePlan),
    (flash_attention, VarlenPlan),
    (torch_varlen_attention, VarlenPlan),
    (flex_attention, FlexPlan),
]


@pytest.mark.parametrize(("kernel", "plan"), PLANS)
def test_all_layers_share_the_plan_of_their_device(varlen, monkeypatch, kernel, plan):
    layout = PackedLayout.shared_prefix(1, [2])
    layout.plan(plan, CPU)
    monkeypatch.setattr(plan, "__init__", lambda *given: pytest.fail("a plan was made again"))
    with torch.no_grad():
        kernel(*heads(3, 1), layout, 1.0, 0.0)


def test_index_tensors_stand_on_the_device_asked_for():
    """Or each layer of each step would copy them to the GPU again."""
    layout = PackedLayout((2, 3, 1, 4, 2), (-1, 0, 0, 1, 2))
    meta = torch.device("meta")
    plan = SdpaPlan(layout, meta)
    tensors = [plan.back, *(x for group in plan.groups for x in group if x is not None)]
    varlen_plan = VarlenPlan(layout, meta)
    tensors += [varlen_plan.key_index, varlen_plan.cu_q, varlen_plan.cu_k]
    dense_plan = DensePlan(PackedLayout.shared_prefix(2, [40, 39]), meta)
    tensors += [dense_plan.back, *(x for g in dense_plan.groups for x in g if torch.is_tensor(x))]
    assert len(tensors) == 1 + 2 + 3 + 3 + 3 + 1 + 2 + 3 and all(x.device == meta for x in tensors)


def test_flex_attention_is_compiled_on_cuda_only(monkeypatch):
    asked = []
    monkeypatch.setattr(
        kernels, "_flex", lambda compiled: asked.append(compiled) or (lambda q, *a, **k: q)
    )
    flex_attention(*heads(3, 1), PackedLayout.shared_prefix(1, [2]), 1.0, 0.0)
    assert asked == [False]


def test_texts_behind_one_prefix_are_one_call_without_copies_of_it():
    """Groups by depth: the prefix causal and alone, all texts together behind it."""
    plan = SdpaPlan(PackedLayout.shared_prefix(3, [2, 0, 4]), CPU)
    (none, prefix, causal), (context, texts, mask) = plan.groups
    assert not len(none) and prefix.tolist() == [[0, 1, 2]] and causal is None
    assert context.tolist() == [0, 1, 2] and texts.shape == (2, 4)
    assert mask.shape == (1, 1, 4, 3 + 4)


@pytest.fixture
def gpu(monkeypatch):
    """Pretends to a GPU: capability, whether flash-attn is installed, torch's varlen kernel."""

    def be(capability=(9, 0), flash=False, varlen=False):
        asked = []
        monkeypatch.setattr(
            torch.cuda, "get_device_capability", lambda device: asked.append(device) or capability
        )
        found = {"flash_attn": object()} if flash else {}
        monkeypatch.setattr(kernels, "find_spec", found.get)
        monkeypatch.setattr(kernels, "_torch_varlen", lambda: Varlen() if varlen else None)
        return asked

    return be


def query(dtype, device=CUDA):
    return SimpleNamespace(dtype=dtype, device=device)


SHORT, LONG = (PackedLayout.shared_prefix(2, [length] * 2) for length in (4, 400))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ({"flash": True, "varlen": True}, flash_attention),
        ({"flash": True}, flash_attention),
        ({"varlen": True}, torch_varlen_attention),
        ({}, flex_attention),
        ({"capability": (8, 0), "flash": True}, flash_attention),
    ],
)
def test_half_precision_on_a_gpu_takes_the_fastest_at_hand(gpu, dtype, machine, expected):
    asked = gpu(**machine)
    assert choose_kernel(query(dtype), SHORT, 0.0) is expected
    assert asked == [CUDA]


@pytest.mark.parametrize(
    ("layout", "dropout", "expected"),
    [
        (SHORT, 0.0, dense_attention),
        (SHORT, 0.5, sdpa_attention),
        (LONG, 0.0, sdpa_attention),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_everything_else_takes_dense_products_for_short_texts(dtype, layout, dropout, expected):
    assert choose_kernel(torch.empty(1, 4, 16, dtype=dtype), layout, dropout) is expected


@pytest.mark.parametrize(
    ("capability", "dtype"), [((9, 0), torch.float32), ((7, 5), torch.float16)]
)
def test_so_does_a_gpu_without_varlen_kernels(gpu, monkeypatch, capability, dtype):
    gpu(capability, flash=True, varlen=True)
    monkeypatch.setattr(kernels, "fits", lambda query, layout: layout is SHORT)
    assert choose_kernel(query(dtype), SHORT, 0.0) is dense_attention
    assert choose_kernel(query(dtype), LONG, 0.0) is sdpa_attention


def test_dense_products_are_for_what_they_keep_for_the_backward_pass(monkeypatch):
    """4 heads, 2 bytes: 2 * 2 weights of the prefix, and 4 * (2 + 4) of each text."""
    q = torch.empty(10, 4, 16, dtype=torch.bfloat16)
    assert SHORT.plan(DensePlan, CPU).weights == 4 + 2 * 24
    monkeypatch.setattr(dense_prefix, "MOST_BYTES", 52 * 4 * 2)
    assert dense_prefix.fits(q, SHORT)
    assert not dense_prefix.fits(q.float(), SHORT)
    monkeypatch.setattr(dense_prefix, "MOST_BYTES", 52 * 4 * 2 - 1)
    assert not dense_prefix.fits(q, SHORT)


def test_dense_products_stay_exact_under_autocast():
    """As --bf16 of Trainer has it, whether the backward pass is under it or not."""
    layout = PackedLayout.shared_prefix(3, [2, 4])
    inputs = [x.requires_grad_() for x in heads(9, 2)]
    out = dense_attention(*inputs, layout, 0.3, 0.0)
    plain = [out, *torch.autograd.grad(out.sum(), inputs)]
    with torch.autocast("cpu", torch.bfloat16):
        out = dense_attention(*inputs, layout, 0.3, 0.0)
        under = [out, *torch.autograd.grad(out.sum(), inputs)]
    assert all(torch.equal(a, b) for a, b in zip(under, plain, strict=True))


def test_texts_share_bins_and_much_shorter_ones_have_bins_of_their_own():
    """Each group costs its operations; a bin has weights between all of its tokens."""
    layout = PackedLayout.shared_prefix(3, [80, 10, 68, 0, 4, 70, 5])
    plan = DensePlan(layout, CPU)
    assert [(g.prefix, tuple(g.own.shape)) for g in plan.groups] == [
        (0, (1, 3)), (3, (3, 80)), (3, (2, 5))
    ]  # fmt: skip


def test_texts_of_one_bin_do_not_see_each_other():
    plan = DensePlan(PackedLayout.shared_prefix(1, [5, 2, 2]), CPU)
    assert plan.groups[1].own.tolist() == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 0]]
    assert plan.groups[1].padding.tolist() == [9]
    seen = plan.groups[1].bias[1, :, 0].isfinite().int()
    assert seen.tolist() == [
        [1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1]
    ]  # fmt: skip


def test_a_text_and_its_labels_are_one_unit_behind_the_prefix():
    plan = DensePlan(PackedLayout((4, 3, 3, 1, 1, 2), (-1, 0, 0, 1, 1, 2)), CPU)
    assert [(g.prefix, g.own.tolist()) for g in plan.groups] == [
        (0, [[0, 1, 2, 3]]),
        (4, [[4, 5, 6, 10, 11], [7, 8, 9, 12, 13]]),
    ]
    first = plan.groups[1].bias[0, :, 0].isfinite()
    assert first[3].tolist() == [True, True, True, True, False]
    assert first[4].tolist() == [True, True, True, False, True]


@pytest.mark.parametrize("size", [1.0, 4.0])
def test_dense_products_are_no_less_precise_than_sdpa_in_bf16(size):
    """Output and gradients, against float64; errors are norms."""
    layout = PackedLayout.shared_prefix(30, [20, 33, 25, 12])
    generator = torch.Generator().manual_seed(0)
    shapes = ((4, size), (2, 1.0), (2, 1.0))
    inputs = [torch.randn(120, h, 16, generator=generator) * s for h, s in shapes]
    weights = torch.randn(120, 4, 16, generator=generator).bfloat16()
    given = [x.bfloat16().requires_grad_() for x in inputs]
    exact = [x.detach().double().requires_grad_() for x in given]
    out = dense_reference(*exact, layout, 0.25)
    expected = [out, *torch.autograd.grad(out, exact, weights.double())]

    def errors(kernel):
        out = kernel(*given, layout, 0.25, 0.0)
        found = [out, *torch.autograd.grad(out, given, weights)]
        pairs = zip(found, expected, strict=True)
        return [(a.double() - b).norm() for a, b in pairs]

    for dense, sdpa in zip(errors(dense_attention), errors(sdpa_attention), strict=True):
        assert dense <= 1.02 * sdpa


def scale_and_window(query, *, scale=None, window_size=(-1, -1)):
    """As torch has it since 2.11."""


def without_scale(query, *, window_size=(-1, -1)):
    """As an older torch has it."""


@pytest.mark.parametrize(
    ("shipped", "taken"), [(scale_and_window, True), (without_scale, False), (None, False)]
)
def test_torchs_varlen_kernel_is_taken_where_it_knows_scale_and_window(monkeypatch, shipped, taken):
    module = ModuleType("torch.nn.attention.varlen")
    if shipped:
        module.varlen_attn = shipped
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert find_torchs_varlen() is (shipped if taken else None)


@pytest.mark.parametrize(("given", "used"), [(None, 0.25), (0.5, 0.5)])
def test_a_models_scaling_and_dropout_reach_the_kernel(monkeypatch, given, used):
    """[batch, heads, seq, head_dim] becomes [T, heads, head_dim] and comes back."""
    told = []

    def kernel(q, k, v, layout, scaling, dropout):
        told.append((q.shape, k.shape, v.shape, layout, scaling, dropout))
        return q

    monkeypatch.setattr(attention, "choose_kernel", lambda query, layout, dropout: kernel)
    layout = PackedLayout.shared_prefix(2, [3])
    q, k = torch.randn(1, 4, 5, 16), torch.randn(1, 2, 5, 16)
    out, _ = attention.shared_prefix_attention(
        torch.nn.Module(), q, k, k, None, scaling=given, dropout=0.125, packed_layout=layout
    )
    assert told == [((5, 4, 16), (5, 2, 16), (5, 2, 16), layout, used, 0.125)]
    assert torch.equal(out, q.transpose(1, 2))


def test_each_of_several_prefixes_costs_what_it_costs_alone():
    """Else a row of several adapters would hold weights between all of their texts."""
    several = PackedLayout((5, 4, 4, 5, 4, 5), (-1, 0, 0, -1, 3, 3))
    alone = [PackedLayout.shared_prefix(5, [4, 4]), PackedLayout.shared_prefix(5, [4, 5])]
    found, *expected = (layout.plan(DensePlan, CPU) for layout in (several, *alone))
    assert (found.weights, found.keys) == (
        sum(plan.weights for plan in expected),
        sum(plan.keys for plan in expected),
    )
