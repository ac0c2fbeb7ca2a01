"""The three embedding layers: the formula, freezing, cached decoding, save and load, merge."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from adept_llm import (
    AdeptConfig,
    InputError,
    get_adapter,
    inject_adapter,
    load_adapter,
    merge_adapter,
    save_adapter,
)
from adept_llm.adapters.merge import merged_table
from adept_llm.demo import MODEL
from benchmarks.architectures import ARCHITECTURES, VOCAB, small_model

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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["llama-tied", "gemma3", "gpt2"])
def test_merged_table_has_the_bits_of_the_layer(name, dtype):
    model = adapted(name, dtype=dtype)
    layer, table = get_adapter(model), merged_table(get_adapter(model))
    for ids in (prefixed(model), prefixed(model)[:, :1], prefixed(model, 1, 1)[:, -1:]):
        expected = table[ids]
        if layer.embed_scale is not None:
            expected = expected * torch.tensor(layer.embed_scale).to(dtype)
        assert torch.equal(layer(ids), expected)


def test_merged_model_is_stock_and_answers_alike(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    model = inject_adapter(model, AdeptConfig("adept", 5, 4))
    with torch.no_grad():
        get_adapter(model).w2.normal_(0, 0.2, generator=torch.Generator().manual_seed(0))
    text = "The soup was stale."
    ids = tokenizer(text, return_tensors="pt").input_ids
    ids = torch.cat([torch.tensor([get_adapter(model).virtual_token_ids]), ids], 1)
    options = {"max_new_tokens": 20, "do_sample": False}
    before = model.generate(ids, attention_mask=torch.ones_like(ids), **options)

    merged, merged_tokenizer = merge_adapter(model, tokenizer)
    merged.save_pretrained(tmp_path)
    merged_tokenizer.save_pretrained(tmp_path)
    stock = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    batch = AutoTokenizer.from_pretrained(tmp_path)(text, return_tensors="pt")
    assert torch.equal(batch.input_ids, ids)
    assert torch.equal(stock.generate(**batch, **options), before)


def test_dept_cannot_be_merged():
    with pytest.raises(InputError, match="position"):
        merge_adapter(adapted(method="dept"), None)


def test_adapter_of_another_width_or_base_is_refused(tmp_path):
    save_adapter(adapted(), tmp_path)
    with pytest.raises(InputError, match="rms"):
        load_adapter(small_model("llama-grouped", seed=1), tmp_path)
    demo = AutoModelForCausalLM.from_pretrained(MODEL)
    with pytest.raises(InputError, match="hidden size"):
        load_adapter(demo, tmp_path)
    with pytest.raises(InputError, match="already has an adapter"):
        inject_adapter(adapted(), METHODS["adept"])


@pytest.mark.parametrize(("m", "r"), [(20, 39), (40, 29), (60, 19), (80, 9)])
def test_parameter_budget_of_the_paper(m, r):
    d = 4096
    count = m * d + 2 * d * r + r + d
    assert count <= 100 * d + r
    assert (m, r) != (60, 19) or count == 405_523


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
