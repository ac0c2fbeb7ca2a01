"""Models that read themselves layer by layer, against the same ones in memory."""

import copy

import pytest
import torch
from torch import nn

from adept_llm import get_adapter
from adept_llm.adapters.virtual_head import last_states
from adept_llm.export.stored_base import StoredBase
from adept_llm.export.streamed import streamed_model
from tests.builders import adapted, prefixed, small_model


@pytest.mark.parametrize("name", ["llama-tied", "gemma3", "qwen3", "phi3", "gpt2", "opt"])
def test_states_are_those_of_the_model_in_memory(tmp_path, name):
    """Behind an adapter, scaled embeddings too; and no weight stays in memory."""
    model = adapted(name)
    small_model(name).save_pretrained(tmp_path, max_shard_size="20KB")
    base = StoredBase.find(tmp_path, model.config)
    if base is None:  # GPT-2's names
        pytest.skip("merged in memory")
    plain = copy.deepcopy(get_adapter(model))
    plain.embed_scale = None  # as over a stored table
    streamed = streamed_model(base, model.config, plain)
    ids = prefixed(model)
    assert torch.equal(last_states(streamed, ids, 5), last_states(model, ids, 5))
    adapter = list(plain.parameters())
    own = [p for p in streamed.parameters() if not any(p is each for each in adapter)]
    assert own and all(p.is_meta for p in own)


def test_files_that_name_a_layer_otherwise_cannot_be_streamed(tmp_path):
    """As those of fused experts do."""
    model = adapted("llama-tied")
    small_model("llama-tied").save_pretrained(tmp_path)
    base = StoredBase.find(tmp_path, model.config)
    (tensors,) = base.files.values()
    tensors["model.layers.0.mlp.other.weight"] = tensors.pop("model.layers.0.mlp.up_proj.weight")
    assert streamed_model(base, model.config, get_adapter(model)) is None
    assert isinstance(model.get_output_embeddings(), nn.Linear)
