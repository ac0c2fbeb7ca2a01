"""The three embedding layers: the formula, freezing, cached decoding, save and load."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from adept_llm import (
    AdeptConfig,
    InputError,
    get_adapter,
    inject_adapter,
    load_adapter,
    save_adapter,
)
from adept_llm.demo import MODEL
from tests.builders import ARCHITECTURES, VOCAB, small_model

METHODS = {
    "adept": AdeptConfig("adept", 4, 3),
    "dept": AdeptConfig("dept", 4, 3, offset_positions=5, offset_scale=0.7),
    "prompt_tuning": AdeptConfig("prompt_tuning", 4),
}


def adapted(name="llama-grouped", method="adept", dtype=torch.float32):
    model = inject_adapter(small_model(name, dtype), METHODS[method])
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in get_adapter(model).trained_parameters().values():
            parameter += 0.5 * torch.randn(parameter.shape, generator=generator)
    return model


def prefixed(model, length=6, rows=2):
    words = torch.randint(3, VOCAB, (rows, length), generator=torch.Generator().manual_seed(2))
    prefix = torch.tensor(get_adapter(model).virtual_token_ids).expand(rows, -1)
    return torch.cat([prefix, words], 1)


@pytest.mark.parametrize("method", METHODS)
def test_formula_in_float64(method):
    model = adapted(method=method)
    adapter, ids = get_adapter(model), prefixed(model)
    seen = []
    adapter.register_forward_hook(lambda *call: seen.append(call[-1]))
    model(ids)
    p = {n: v.detach().double() for n, v in adapter.trained_parameters().items()}
    u, table = adapter.table.rms, adapter.weight.double()
    rows = table[ids[:, 4:]]
    if method == "adept":
        # the papers' plain values: W1/u, W2*u, b2*u
        hidden = (rows @ (p["w1"] / u) + p["b1"]).relu()
        rows = rows + hidden @ (p["w2"] * u) + p["b2"] * u
    elif method == "dept":
        rows[:, :5] += 0.7 * u * (p["a"] @ p["b"])  # the sixth word gets no offset
    expected = torch.cat([(p["prompt"] * u).expand(2, -1, -1), rows], 1)
    assert torch.equal(seen[0], expected.float())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_only_the_adapter_gets_gradients(name):
    model = adapted(name)
    logits = model(prefixed(model)).logits
    assert logits.shape[-1] == VOCAB
    logits.square().mean().backward()
    with_gradient = {n for n, p in model.named_parameters() if p.grad is not None}
    assert {n.rsplit(".", 1)[1] for n in with_gradient} == {"prompt", "w1", "b1", "w2", "b2"}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_cache_beams_and_left_padding_agree(name, method):
    model = adapted(name, method)
    ids = prefixed(model)
    mask = torch.ones_like(ids)
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    for beams in (1, 2):
        cached, plain = (
            model.generate(ids, attention_mask=mask, use_cache=c, num_beams=beams, **options)
            for c in (True, False)
        )
        assert torch.equal(cached, plain)
    pad = torch.zeros(2, 3, dtype=torch.long)
    padded_mask = torch.cat([pad, mask], 1)
    positions = (padded_mask.cumsum(-1) - 1).clamp(min=0)
    logits = model(ids).logits
    padded = model(
        torch.cat([pad, ids], 1), attention_mask=padded_mask, position_ids=positions
    ).logits[:, 3:]
    assert torch.allclose(logits, padded, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_save_and_load(tmp_path, method):
    model = adapted(method=method)
    save_adapter(model, tmp_path)
    loaded = load_adapter(small_model("llama-grouped"), tmp_path)
    ids = prefixed(model)
    assert torch.equal(model(ids).logits, loaded(ids).logits)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_adapter_of_another_width_or_base_is_refused(tmp_path):
    save_adapter(adapted(), tmp_path)
    with pytest.raises(InputError, match="rms"):
        load_adapter(small_model("llama-grouped", seed=1), tmp_path)
    demo = AutoModelForCausalLM.from_pretrained(MODEL)
    with pytest.raises(InputError, match="hidden size"):
        load_adapter(demo, tmp_path)
    with pytest.raises(InputError, match="already has an adapter"):
        inject_adapter(adapted(), METHODS["adept"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "lora"}, "unknown"),
        ({"method": "prompt_tuning", "bottleneck_size": 3}, "no offset network"),
        ({"bottleneck_size": 0}, "at least 1"),
        ({"num_virtual_tokens": -1}, "negative"),
        ({"prompt_init": "text"}, "prompt_init_text"),
        ({"prompt_init_text": "x"}, "prompt_init"),
        ({"bottleneck_dropout": 1.0}, "not in"),
    ],
)
def test_bad_configs_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        AdeptConfig(**changes)
