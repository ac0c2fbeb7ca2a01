"""Adapters of every method in a model: freezing, cached decoding, save and load, bad configs."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from adept_llm import AdeptConfig, InputError, inject_adapter, load_adapter, save_adapter
from adept_llm.adapters import METHODS, get_adapter, read_adapter
from adept_llm.demo import MODEL
from tests.builders import ARCHITECTURES, CONFIGS, VOCAB, adapted, prefixed, small_model


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_only_the_adapter_gets_gradients(name, method):
    """INV 3; a value that gets none would not be trained."""
    model = adapted(name, method)
    adapter = get_adapter(model)
    logits = model(prefixed(model)).logits
    assert logits.shape[-1] == VOCAB
    logits.square().mean().backward()
    with_gradient = {id(p) for p in model.parameters() if p.grad is not None}
    assert with_gradient == {id(p) for p in adapter.trained_parameters().values()}
    assert all(p.grad.any() for p in adapter.trained_parameters().values())


NEW = ["embedding_lora", "dpt", "superpos", "ulpt"]
PAIRS = [(name, method) for name in ARCHITECTURES for method in ("adept", "dept", "prompt_tuning")]
# only the first layer differs between methods
PAIRS += [(name, method) for name in ("llama-grouped-tied", "gemma3") for method in NEW]


@pytest.mark.parametrize(("name", "method"), PAIRS)
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("method", METHODS)
def test_save_and_load(tmp_path, method, dtype):
    """Bit for bit, what is drawn and frozen too; no row of the base is written."""
    model = adapted(method=method, dtype=dtype)
    save_adapter(model, tmp_path)
    loaded = load_adapter(small_model("llama-grouped", dtype), tmp_path)
    saved, found = (get_adapter(m).saved_values() for m in (model, loaded))
    assert saved.keys() == found.keys() == read_adapter(tmp_path)[2].keys()
    assert all(torch.equal(saved[name], found[name]) for name in saved)
    ids = prefixed(model)
    assert torch.equal(model(ids).logits, loaded(ids).logits)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    kinds = {name for name, value in saved.items() if not value.requires_grad}
    assert kinds == {"superpos": {"prompt.ids"}, "ulpt": {"prompt.projection"}}.get(method, set())


def test_adapter_of_another_width_or_base_is_refused(tmp_path):
    save_adapter(adapted(), tmp_path)
    with pytest.raises(InputError, match="rms"):
        load_adapter(small_model("llama-grouped", seed=1), tmp_path)
    demo = AutoModelForCausalLM.from_pretrained(MODEL)
    with pytest.raises(InputError, match="hidden size"):
        load_adapter(demo, tmp_path)
    with pytest.raises(InputError, match="already has an adapter"):
        inject_adapter(adapted(), CONFIGS["adept"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "lora"}, "unknown"),
        ({"method": "prompt_tuning", "bottleneck_size": 3}, "bottleneck_size.*no offset"),
        ({"method": "dpt", "bottleneck_size": 3}, "bottleneck_size.*no offset"),
        ({"method": "adept", "prompt_rank": 3}, "prompt_rank: adept has no"),
        ({"method": "embedding_lora", "prompt_rank": 3}, "prompt_rank: embedding_lora has no"),
        ({"method": "superpos", "prompt_rank": 0}, "prompt_rank: superpos needs at least 1"),
        ({"method": "embedding_lora", "bottleneck_size": -1}, "at least 1, got -1"),
        ({"method": "ulpt", "num_virtual_tokens": 0}, "trains nothing"),
        ({"method": "prompt_tuning", "num_virtual_tokens": 0}, "trains nothing"),
        ({"method": "dpt", "prompt_init": "normal"}, "dpt draws its prompt in its own way"),
        ({"offset_positions": 0}, "not positive"),
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


def test_a_word_offset_may_stand_alone():
    assert adapted(method="embedding_lora", m=0)(torch.tensor([[5, 6]])).logits.isfinite().all()


def test_more_words_than_the_table_has_cannot_be_mixed():
    with pytest.raises(InputError, match=f"128 words.*table has {VOCAB}.*--prompt_rank"):
        inject_adapter(small_model("llama"), AdeptConfig("superpos", 4))
