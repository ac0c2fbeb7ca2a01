"""The embedding table is found without the rest of the model."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from adept_llm.adapters import get_adapter, inject_adapter
from adept_llm.base.table import read_table
from adept_llm.errors import InputError
from tests.builders import CONFIGS, PACKED, small_model


def saved(tmp_path, name, dtype=torch.float32):
    """A model in a folder, its table, and what an adapter knows of it."""
    model = small_model(name, dtype)
    model.save_pretrained(tmp_path)
    weight = model.get_input_embeddings().weight.detach().clone()
    inject_adapter(model, CONFIGS["adept"])
    return weight, get_adapter(model).table


@pytest.mark.parametrize("name", PACKED)
def test_each_architectures_own_table_is_read(tmp_path, name):
    """The head of an untied model has the same shape."""
    weight, table = saved(tmp_path, name)
    assert torch.equal(read_table(str(tmp_path), None, table), weight)


def test_the_stored_dtype_is_kept(tmp_path):
    weight, table = saved(tmp_path, "llama", torch.bfloat16)
    found = read_table(str(tmp_path), None, table)
    assert found.dtype == torch.bfloat16 and torch.equal(found, weight)


def test_a_table_in_one_of_several_files(tmp_path):
    _, table = saved(tmp_path / "whole", "llama")
    weight = torch.randn(96, 32)
    table = replace(table, rms=float(weight.square().mean().sqrt()))
    names = {"lm_head.weight": "a.safetensors", "model.embed_tokens.weight": "b.safetensors"}
    save_file({"lm_head.weight": weight + 1}, tmp_path / "a.safetensors")
    save_file({"model.embed_tokens.weight": weight}, tmp_path / "b.safetensors")
    index = {"weight_map": names}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert torch.equal(read_table(str(tmp_path), None, table), weight)


@pytest.mark.parametrize(
    "content",
    ["{", "{}", "[]", '{"weight_map": 1}', '{"weight_map": {"a": []}}', '{"weight_map": {"a": 1}}'],
)
def test_a_damaged_index_is_refused(tmp_path, content):
    """In one line, of any form of damage."""
    _, table = saved(tmp_path / "whole", "llama")
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(InputError, match=r"^\S*index.json: is damaged .*; copy the base again$"):
        read_table(str(tmp_path), None, table)


def test_another_table_no_file_and_a_damaged_one_are_refused(tmp_path):
    _, table = saved(tmp_path, "llama")
    for other in (replace(table, rms=table.rms * 1.01), replace(table, vocab_size=95)):
        with pytest.raises(InputError, match="no embedding table"):
            read_table(str(tmp_path), None, other)
    for missing in (tmp_path / "none", "nobody/knows-this-model"):
        with pytest.raises(InputError, match="on this machine"):
            read_table(str(missing), None, table)
    (tmp_path / "model.safetensors").write_bytes(b"0" * 100)
    with pytest.raises(InputError, match="cannot be read"):
        read_table(str(tmp_path), None, table)
