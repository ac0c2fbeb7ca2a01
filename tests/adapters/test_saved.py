"""Going on from a saved adapter: its trained values, if what is drawn and frozen is the same."""

from dataclasses import replace

import pytest
import torch

from adept_llm import InputError, get_adapter, inject_adapter, save_adapter
from adept_llm.adapters import METHODS
from adept_llm.adapters.saved import read_trained
from tests.builders import CONFIGS, adapted, small_model


@pytest.mark.parametrize("method", METHODS)
def test_trained_values_are_given_back(method, tmp_path):
    model = adapted("llama", method)
    save_adapter(model, tmp_path)
    trained = get_adapter(model).trained_parameters()
    resumed = get_adapter(inject_adapter(small_model("llama"), CONFIGS[method]))
    found = read_trained(resumed, tmp_path)
    assert found.keys() == trained.keys()
    assert all(torch.equal(found[name], trained[name]) for name in found)


@pytest.mark.parametrize(("method", "drawn"), [("superpos", "ids"), ("ulpt", "projection")])
def test_values_of_another_draw_are_refused(method, drawn, tmp_path):
    """With other words, or another projection, the trained values mean nothing."""
    save_adapter(adapted("llama", method), tmp_path)
    config = replace(CONFIGS[method], init_seed=1)
    other = get_adapter(inject_adapter(small_model("llama"), config))
    with pytest.raises(InputError, match=f"another prompt.{drawn}.*--init_seed"):
        read_trained(other, tmp_path)
