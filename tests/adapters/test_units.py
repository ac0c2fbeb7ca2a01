"""Plain values and starts as in the authors' code: what `units` and `offset_init` change."""

from dataclasses import replace

import pytest
import torch

from adept_llm import AdeptConfig, InputError, get_adapter, inject_adapter, load_adapter
from adept_llm.adapters import METHODS, merge_adapter, save_adapter
from adept_llm.base.loading import load_model, load_tokenizer
from adept_llm.demo import MODEL
from tests.adapters.test_forms import OFFSETS, PROMPTS, assert_uniform, fresh, plain_prompt
from tests.builders import CONFIGS, embedded, prefixed, small_model


def plain_model(method, name="llama-grouped"):
    """A small model whose adapter has plain values, far from their start."""
    model = inject_adapter(small_model(name), replace(CONFIGS[method], units="plain"))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in get_adapter(model).trained_parameters().values():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.mark.parametrize("method", METHODS)
def test_plain_values_enter_the_papers_formula_as_they_are(method):
    model = plain_model(method)
    adapter, ids = get_adapter(model), prefixed(model, length=7)
    p = {n: v.detach().double() for n, v in adapter.saved_values().items()}
    table = adapter.weight.double()
    assert abs(adapter.table.rms - 1) > 0.5  # or the two units would be one
    words = table[ids[:, 5:]]
    if method in OFFSETS:
        words = words + OFFSETS[method](p, table, ids[:, 5:], 1.0)
    prompt = PROMPTS.get(method, plain_prompt)(p, table, 1.0)
    expected = torch.cat([prompt.expand(2, -1, -1), words], 1).float()
    assert torch.equal(embedded(model, ids)[0], expected)
    assert torch.allclose(embedded(model.train(), ids)[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_saved_adapter_keeps_its_units(method, tmp_path):
    model = plain_model(method)
    save_adapter(model, tmp_path)
    loaded = load_adapter(small_model("llama-grouped"), tmp_path)
    assert get_adapter(loaded).config.units == "plain"
    ids = prefixed(model)
    assert torch.equal(embedded(loaded, ids)[0], embedded(model, ids)[0])


@pytest.mark.parametrize("method", sorted(METHODS.keys() - {"dept"}))
def test_plain_values_merge_to_the_bits_of_the_layer(method):
    config = replace(CONFIGS[method], units="plain")
    model = inject_adapter(load_model(str(MODEL)), config)
    adapter = get_adapter(model)
    with torch.no_grad():
        for parameter in adapter.trained_parameters().values():
            parameter.add_(0.1)
    ids = torch.arange(adapter.table.vocab_size + config.num_virtual_tokens)[None]
    expected = adapter(ids)[0]
    merged, _ = merge_adapter(model, load_tokenizer(str(MODEL)))
    assert torch.equal(merged.get_input_embeddings().weight, expected)


def test_a_prompt_moves_between_adapters_of_different_units(tmp_path):
    source = plain_model("adept")
    save_adapter(source, tmp_path)
    config = replace(
        CONFIGS["prompt_tuning"], prompt_init="adapter", prompt_init_adapter=str(tmp_path)
    )
    found = get_adapter(inject_adapter(small_model("llama"), config))
    expected = get_adapter(source).prompt.weight
    assert torch.allclose(found.prompt_rows(torch.float32), expected, atol=1e-6)


@pytest.mark.parametrize("units", ["rms", "plain"])
def test_a_start_of_rows_does_not_depend_on_units(units):
    """The prompt is at rows of the table either way."""
    starts = [
        get_adapter(inject_adapter(small_model("llama"), replace(CONFIGS["adept"], units=one)))
        for one in (units, "rms")
    ]
    prompts = [adapter.prompt_rows(torch.float32) for adapter in starts]
    assert torch.allclose(*prompts, atol=1e-6)


@pytest.mark.parametrize("units", ["rms", "plain"])
def test_standard_normal_draws_as_nn_embedding(units):
    config = AdeptConfig("prompt_tuning", 2000, prompt_init="standard_normal", units=units)
    adapter = get_adapter(inject_adapter(small_model("llama"), config))
    rows = adapter.prompt_rows(torch.float32)
    assert rows.std().item() == pytest.approx(
        torch.nn.Embedding(2000, 32).weight.std().item(), rel=0.02
    )
    assert abs(adapter.table.rms - 1) > 0.5


@pytest.mark.parametrize(("method", "name"), [("adept", "w1"), ("dept", "a")])
def test_by_rank_draws_as_torch_does_on_their_tensor(method, name):
    """kaiming_uniform_(a=sqrt(5)) on [.., r], as their constructors call it."""
    offset = fresh(AdeptConfig(method, 4, 19, offset_init="by_rank")).offset
    found = getattr(offset, name).detach()
    theirs = torch.nn.init.kaiming_uniform_(torch.empty_like(found), a=5**0.5)
    assert_uniform(found, 19**-0.5)
    assert found.std().item() == pytest.approx(theirs.std().item(), rel=0.03)
    scaled = fresh(AdeptConfig(method, 4, 19)).offset
    assert getattr(scaled, name).std().item() != pytest.approx(found.std().item(), rel=0.3)
    others = [v for n, v in offset.named_parameters() if n != name]
    assert not any(v.any() for v in others)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"units": "metres"}, "units: 'metres' is unknown; choose one of rms, plain"),
        ({"offset_init": "zero"}, "offset_init: 'zero' is unknown; choose one of scaled, by_rank"),
        ({"method": "embedding_lora", "offset_init": "by_rank"}, "embedding_lora knows no"),
        ({"method": "prompt_tuning", "offset_init": "by_rank"}, "prompt_tuning knows no"),
    ],
)
def test_wrong_choices(given, said):
    with pytest.raises(InputError, match=said):
        AdeptConfig(**given)
