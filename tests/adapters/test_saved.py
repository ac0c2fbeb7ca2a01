"""Going on from a saved adapter: its trained values, if what is drawn and frozen is the same."""

from dataclasses import replace

import pytest
import torch

from adept_llm import (
    AdeptConfig,
    InputError,
    get_adapter,
    inject_adapter,
    load_adapter,
    save_adapter,
)
from adept_llm.adapters import METHODS, read_adapter
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


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(value, tmp_path):
    """By whatever reads adapters: evaluate, generate, merge and a resumed run."""
    model = adapted("llama")
    with torch.no_grad():
        get_adapter(model).offset.b1[1] = value
    save_adapter(model, tmp_path)
    for read in (read_adapter, lambda folder: load_adapter(small_model("llama"), folder)):
        with pytest.raises(InputError, match="has values in offset.b1 that are not finite"):
            read(tmp_path)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"num_virtual_tokens": 5.0}, "num_virtual_tokens: 5.0 is no whole number"),
        ({"num_virtual_tokens": True}, "num_virtual_tokens: True is no whole number"),
        ({"bottleneck_size": "3"}, "bottleneck_size: '3' is no whole number"),
        ({"offset_positions": 6.5}, "offset_positions: 6.5 is no whole number"),
        ({"init_seed": None}, "init_seed: None is no whole number"),
        ({"offset_scale": float("nan")}, "offset_scale: nan is not finite"),
    ],
)
def test_sizes_that_are_no_whole_numbers_are_refused(given, said):
    with pytest.raises(InputError, match=said):
        AdeptConfig(**given)
