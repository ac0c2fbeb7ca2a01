"""A table that is split over ranks is read through the caller's `gather`, and never without."""

from contextlib import contextmanager

import pytest
import torch

from adept_llm import InputError, get_adapter, inject_adapter, load_adapter, save_adapter
from adept_llm.adapters import METHODS
from tests.builders import CONFIGS, adapted, small_model


def split(model):
    """The model with a stand-in for its table, as ZeRO-3 leaves it, and a way to gather it."""
    weight = model.get_input_embeddings().weight
    full = weight.data

    @contextmanager
    def gather(given):
        assert given is weight
        weight.data = full
        try:
            yield weight.detach()
        finally:
            weight.data = torch.empty(0)

    weight.data = torch.empty(0)
    return model, gather, full


@pytest.mark.parametrize("method", METHODS)
def test_a_gathered_table_gives_the_same_adapter(method, tmp_path):
    model, gather, full = split(small_model("llama"))
    found = get_adapter(inject_adapter(model, CONFIGS[method], gather=gather))
    assert found.weight.numel() == 0  # given back
    expected = get_adapter(inject_adapter(small_model("llama"), CONFIGS[method]))
    assert found.table == expected.table
    for name, value in expected.saved_values().items():
        assert torch.equal(value, found.saved_values()[name])
    found.base.weight.data = full
    save_adapter(model, tmp_path)
    again, gather, _ = split(small_model("llama"))
    assert get_adapter(load_adapter(again, tmp_path, gather=gather)).table == expected.table


def test_a_split_table_is_refused_with_the_way_out(tmp_path):
    save_adapter(adapted("llama"), tmp_path)
    with pytest.raises(InputError, match="gather=adept_llm.compat.deepspeed.gathered"):
        inject_adapter(split(small_model("llama"))[0], CONFIGS["adept"])
    with pytest.raises(InputError, match="split over the ranks"):
        load_adapter(split(small_model("llama"))[0], tmp_path)


def test_a_split_adapter_is_not_written(tmp_path):
    """40-byte adapters are what others save under ZeRO-3."""
    model = adapted("llama")
    get_adapter(model).offset.w2.data = torch.empty(0)
    with pytest.raises(InputError, match="trainer.save_model"):
        save_adapter(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_adapter_names_its_base_and_revision():
    model = small_model("llama")
    model.config.name_or_path = "org/base"
    table = get_adapter(inject_adapter(model, CONFIGS["adept"], revision="abc")).table
    assert (table.name_or_path, table.revision) == ("org/base", "abc")
