"""save_pretrained of an injected model writes the adapter, and what stock Trainer reads back."""

import copy

import pytest
import torch
from safetensors.torch import load_file

from adept_llm import InputError, get_adapter, inject_adapter, load_adapter, merge_adapter
from adept_llm.adapters import METHODS
from adept_llm.base.loading import load_model, load_tokenizer
from adept_llm.demo import MODEL
from tests.builders import CONFIGS, adapted, small_model

BOTH = ["adapter_config.json", "adapter_model.safetensors", "model.safetensors"]


@pytest.mark.parametrize("method", METHODS)
def test_what_is_saved_is_read_back_by_both_ways(tmp_path, method):
    """load_adapter, and a load without strictness, bit for bit; nothing of the base is written."""
    model = adapted(method=method)
    model.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == BOTH
    fresh = inject_adapter(small_model("llama-grouped"), CONFIGS[method])
    found = fresh.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=False)
    assert not found.missing_keys and not found.unexpected_keys
    loaded = load_adapter(small_model("llama-grouped"), tmp_path)
    saved = get_adapter(model).saved_values()
    for one in (fresh, loaded):
        values = get_adapter(one).saved_values()
        assert values.keys() == saved.keys()
        assert all(torch.equal(values[name], value) for name, value in saved.items())
    names = set(load_file(tmp_path / "model.safetensors"))
    assert names == {f"model.embed_tokens.{name}" for name in saved}


def test_a_state_without_all_of_the_adapter_is_told(tmp_path):
    model = adapted()
    state = {n: p for n, p in model.state_dict().items() if n.endswith("offset.w1")}
    assert "model.embed_tokens.prompt.weight" in model.load_state_dict(state, False).missing_keys
    of_base = small_model("llama-grouped").state_dict()
    found = model.load_state_dict({"lm_head.weight": of_base["lm_head.weight"]}, False)
    assert "model.norm.weight" in found.missing_keys


def test_values_that_are_split_over_processes_come_from_the_state(tmp_path):
    """As Trainer hands it over under ZeRO-3 and FSDP."""
    model = adapted()
    whole = {name: value.clone() for name, value in model.state_dict().items()}
    prompt = get_adapter(model).prompt.weight
    expected, prompt.data = prompt.data, torch.empty(0)
    with pytest.raises(InputError, match="split over the ranks"):
        model.save_pretrained(tmp_path)
    model.save_pretrained(tmp_path, state_dict=whole, is_main_process=False)
    assert not list(tmp_path.iterdir())
    model.save_pretrained(tmp_path, state_dict=whole, is_main_process=True)
    assert torch.equal(load_file(tmp_path / "adapter_model.safetensors")["prompt.weight"], expected)


def test_a_push_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match="hf upload"):
        adapted().save_pretrained(tmp_path, push_to_hub=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shard_size", ["50GB", "20KB"])
def test_the_folder_of_a_base_is_not_overwritten(tmp_path, shard_size):
    """Its model.safetensors was replaced by the adapter: the base was lost."""
    small_model("llama-grouped").save_pretrained(tmp_path, max_shard_size=shard_size)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert ("model.safetensors.index.json" in before) == (shard_size == "20KB")
    with pytest.raises(InputError, match="weights of a model") as caught:
        adapted().save_pretrained(tmp_path)
    assert "\n" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_adapter_is_replaced_and_a_damaged_file_may_be_a_base(tmp_path):
    """Even by one of another architecture; what lies beside a damaged file tells whose it was."""
    adapted("gpt2").save_pretrained(tmp_path)
    other = adapted(method="ulpt")
    other.save_pretrained(tmp_path)
    loaded = load_adapter(small_model("llama-grouped"), tmp_path)
    assert get_adapter(loaded).config == get_adapter(other).config
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    other.save_pretrained(tmp_path)
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(InputError, match="weights of a model"):
        other.save_pretrained(tmp_path / "base")


def test_a_copy_saves_its_own_values(tmp_path):
    model = adapted()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        get_adapter(twin).prompt.weight.fill_(2.0)
    twin.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "adapter_model.safetensors")["prompt.weight"]
    assert torch.equal(saved, torch.full_like(saved, 2.0))


def test_a_merged_model_is_saved_as_any_other(tmp_path):
    model = inject_adapter(load_model(str(MODEL)), CONFIGS["adept"])
    merged, _ = merge_adapter(model, load_tokenizer(str(MODEL)))
    merged.save_pretrained(tmp_path)
    merged.resize_token_embeddings(merged.config.vocab_size + 8)
    assert (tmp_path / "config.json").is_file()
    assert not (tmp_path / "adapter_config.json").exists()
    assert "model.norm.weight" in load_file(tmp_path / "model.safetensors")
