"""Each method against its paper's formula in float64, and its initial values as published."""

import math

import pytest
import torch
from torch import nn

from adept_llm import AdeptConfig, InputError, get_adapter, inject_adapter
from adept_llm.adapters import METHODS, AdeptEmbedding, BaseTable
from tests.builders import CONFIGS, VOCAB, WIDTH, adapted, embedded, prefixed, small_model

WIDE = 400  # of a table for statistics


def plain_prompt(p, table, u):
    return p["prompt.weight"] * u


def dpt(p, table, u):
    return p["prompt.u"] @ p["prompt.v"] * u


def superpos(p, table, u):
    return sum(p["prompt.mix"][:, [j]] * table[i] for j, i in enumerate(p["prompt.ids"].long()))


def ulpt(p, table, u):
    projected = torch.einsum("ik,kj->ij", p["prompt.z"], p["prompt.projection"])
    return (p["prompt.scale"] * projected + p["prompt.shift"]) * u


def network(p, table, ids, u, activation):
    # the papers' plain values: W1/u, W2*u, b2*u
    hidden = activation(table[ids] @ (p["offset.w1"] / u) + p["offset.b1"])
    return hidden @ (p["offset.w2"] * u) + p["offset.b2"] * u


def adept(p, table, ids, u):
    return network(p, table, ids, u, torch.relu)


def adept_linear(p, table, ids, u):
    return network(p, table, ids, u, lambda hidden: hidden)


def adept_gated(p, table, ids, u):
    return network(p, table, ids, u, lambda h: h[..., :3] * torch.sigmoid(h[..., 3:]))


def dept(p, table, ids, u):
    offsets = torch.zeros(*ids.shape, table.shape[1], dtype=torch.float64)
    offsets[:, :6] = u * (p["offset.a"] @ p["offset.b"])  # the seventh word gets none
    return offsets


def embedding_lora(p, table, ids, u):
    return (p["offset.a"] @ p["offset.b"])[ids] * u


PROMPTS = {"dpt": dpt, "superpos": superpos, "ulpt": ulpt}
OFFSETS = {
    "adept": adept,
    "adept_linear": adept_linear,
    "adept_gated": adept_gated,
    "dept": dept,
    "embedding_lora": embedding_lora,
}


@pytest.mark.parametrize("method", METHODS)
def test_formula_in_float64(method):
    model = adapted(method=method)
    adapter, ids = get_adapter(model), prefixed(model, length=7)
    p = {n: v.detach().double() for n, v in adapter.saved_values().items()}
    u, table = adapter.table.rms, adapter.weight.double()
    words = table[ids[:, 5:]]
    if method in OFFSETS:
        words = words + OFFSETS[method](p, table, ids[:, 5:], u)
    prompt = PROMPTS.get(method, plain_prompt)(p, table, u)
    expected = torch.cat([prompt.expand(2, -1, -1), words], 1).float()
    found, _ = embedded(model, ids)
    assert torch.equal(found, expected)
    # training computes in fp32
    assert torch.allclose(embedded(model.train(), ids)[0], expected, rtol=1e-5, atol=1e-6)


def test_depts_offset_is_scaled():
    plain, scaled = (
        inject_adapter(small_model("llama"), AdeptConfig("dept", 4, 3, offset_scale=scale))
        for scale in (1.0, 0.7)
    )
    offsets = []
    for model in (plain, scaled):
        adapter, ids = get_adapter(model), prefixed(model)
        torch.nn.init.ones_(adapter.offset.b)
        offsets.append(embedded(model, ids)[0][:, 4:] - adapter.weight[ids[:, 4:]])
    assert torch.allclose(offsets[1], 0.7 * offsets[0], atol=1e-6) and offsets[0].abs().min() > 0


def fresh(config):
    """An adapter with its initial values on a table of width 400."""
    torch.manual_seed(0)

    class Decoder(nn.Module):
        """As much of a model as injection asks for."""

        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(500, WIDE)
            self.config = type("", (), {"name_or_path": ""})()
            self.config.get_text_config = lambda: self.config

        def get_input_embeddings(self):
            return self.table

        def get_output_embeddings(self):
            return self.table

        def set_input_embeddings(self, layer):
            self.table = layer

    return get_adapter(inject_adapter(Decoder(), config))


def assert_uniform(tensor, bound):
    assert 0.99 * bound < tensor.max() <= bound and -bound <= tensor.min() < -0.99 * bound
    assert tensor.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


def assert_normal(tensor, std):
    assert tensor.std().item() == pytest.approx(std, rel=0.05)
    assert tensor.mean().abs() < 0.1 * std and tensor.abs().max() > 2.5 * std


def test_adept_starts_kaiming_uniform():
    """As kaiming_uniform(a=sqrt(5)) on a [r, d] Linear."""
    offset = fresh(AdeptConfig("adept", 4, 64)).offset
    assert_uniform(offset.w1, WIDE**-0.5)
    assert not any(v.any() for v in (offset.b1, offset.w2, offset.b2))


def test_dept_starts_at_normal_a_and_no_b():
    offset = fresh(AdeptConfig("dept", 4, 16)).offset
    assert_normal(offset.a, 16**-0.5)
    assert not offset.b.any()


def test_embedding_lora_starts_as_pefts():
    """PEFT's own reset is asked: A at zero, B normal."""
    from peft import LoraConfig, get_peft_model

    theirs = get_peft_model(
        nn.Sequential(nn.Embedding(500, WIDE)), LoraConfig(r=8, target_modules=["0"])
    ).base_model.model[0]
    assert not theirs.lora_embedding_A["default"].any()
    assert_normal(theirs.lora_embedding_B["default"], 1.0)
    offset = fresh(AdeptConfig("embedding_lora", 4)).offset
    assert offset.a.shape == (500, 8) and not offset.a.any()
    assert_normal(offset.b, 1.0)


def test_dpt_starts_uniform_in_both_factors():
    prompt = fresh(AdeptConfig("dpt", 100)).prompt
    assert prompt.u.shape == (100, 10)
    assert_uniform(prompt.u, 0.5)
    assert_uniform(prompt.v, 0.5)


def test_superpos_draws_distinct_words_and_rows_as_large_as_words():
    adapter = fresh(AdeptConfig("superpos", 100))
    assert adapter.prompt.ids.unique().numel() == 128
    assert_normal(adapter.prompt.mix, 128**-0.5)
    rms = adapter.prompt_rows(torch.float32).square().mean().sqrt().item()
    assert rms == pytest.approx(adapter.table.rms, rel=0.1)


def test_ulpt_starts_at_a_xavier_projection_unscaled():
    prompt = fresh(AdeptConfig("ulpt", 800)).prompt
    assert prompt.z.shape == (800, 2)
    assert_normal(prompt.z, 1.0)
    assert_uniform(prompt.projection, math.sqrt(6 / (2 + WIDE)))
    assert (prompt.scale == 1).all() and not prompt.shift.any()


@pytest.mark.parametrize("method", sorted(METHODS.keys() - {"adept"}))
def test_the_seed_alone_decides_the_start(method):
    first, again, other = (
        fresh(AdeptConfig(method, 4, init_seed=seed)).saved_values() for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    # what is drawn differs
    drawn = [name for name in first if first[name].float().std() > 0]
    assert drawn and not any(torch.equal(first[name], other[name]) for name in drawn)


COUNTS = {  # at V = 1000, d = 64, by the papers' own counts
    "adept": 5 * 64 + 2 * 64 * 3 + 3 + 64,
    "adept_linear": 5 * 64 + 2 * 64 * 3 + 3 + 64,
    "adept_gated": 5 * 64 + 3 * 64 * 3 + 2 * 3 + 64,
    "dept": 5 * 64 + 6 * 3 + 3 * 64,
    "prompt_tuning": 5 * 64,
    "embedding_lora": 5 * 64 + 1000 * 3 + 3 * 64,
    "dpt": 5 * 3 + 3 * 64,
    "superpos": 5 * 7,
    "ulpt": 5 * 3 + 2 * 64,
}


@pytest.mark.parametrize("method", METHODS)
def test_number_of_trained_parameters(method):
    """What is drawn and frozen does not count."""
    table = BaseTable(1000, 64, 1.0)
    adapter = AdeptEmbedding(nn.Embedding(2, 64), CONFIGS[method], table)
    count = sum(p.numel() for p in adapter.trained_parameters().values())
    assert count == COUNTS[method]


@pytest.mark.parametrize("method", sorted(METHODS.keys() - {"dept"}))
def test_the_factors_of_an_offset_are_the_offset(method):
    """Rank r + 1 for a network, r for a word's own, 0 for none; in the table's units."""
    layer = get_adapter(adapted("llama", method))
    ids = torch.arange(VOCAB)
    rows = layer.weight.double()
    left, right = layer.offset_factors(rows, ids)
    assert torch.allclose(rows + left @ right, layer.adapt_rows(rows, ids), rtol=1e-12, atol=1e-12)
    r = CONFIGS[method].bottleneck_size
    assert right.shape == ((r + 1 if method.startswith("adept") else r), WIDTH)


def test_an_offset_by_position_has_no_factors():
    layer = get_adapter(adapted("llama", "dept"))
    with pytest.raises(InputError, match="depends on a word's position"):
        layer.offset_factors(layer.weight, torch.arange(VOCAB))
