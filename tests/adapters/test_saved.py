"""Going on from a saved adapter: its trained values, if what is drawn and frozen is the same."""

import json
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
from adept_llm.adapters import METHODS, BaseTable, read_adapter
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
        ({"init_seed": 2**70}, "init_seed: 1180591620717411303424 has more than 64 bits"),
        ({"offset_scale": float("nan")}, "offset_scale: nan is not finite"),
        ({"offset_scale": 10**400}, "is not finite"),
        ({"offset_scale": "8"}, "offset_scale: '8' is no number"),
        ({"bottleneck_dropout": None}, "bottleneck_dropout: None is no number"),
        ({"bottleneck_dropout": True}, "bottleneck_dropout: True is no number"),
        ({"method": ["adept"]}, r"method: \['adept'\] is no text"),
        ({"units": None}, "units: None is no text"),
        ({"prompt_init": "text", "prompt_init_text": 5}, "prompt_init_text: 5 is no text"),
        ({"base_dropout": "false"}, "base_dropout: 'false' is neither true nor false"),
    ],
)
def test_values_of_another_kind_are_refused(given, said):
    with pytest.raises(InputError, match=said):
        AdeptConfig(**given)


def test_the_outermost_seeds_can_be_drawn_from():
    for seed in (-(2**63), 2**64 - 1):
        inject_adapter(small_model("llama"), AdeptConfig("adept", 4, 3, init_seed=seed))


def test_an_adapter_to_start_from_may_be_a_path(tmp_path):
    save_adapter(adapted("llama"), tmp_path)
    config = AdeptConfig("adept", 5, 3, prompt_init="adapter", prompt_init_adapter=tmp_path)
    assert config.prompt_init_adapter == str(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("rms", None, "rms: None is no number"),
        ("rms", "x", "rms: 'x' is no number"),
        ("rms", float("nan"), "rms: nan is the length of no table"),
        ("rms", float("inf"), "rms: inf is the length of no table"),
        ("rms", -1.0, "rms: -1.0 is the length of no table"),
        ("hidden_size", "64", "hidden_size: '64' is no whole number"),
        ("vocab_size", None, "vocab_size: None is no whole number"),
        ("name_or_path", 5, "name_or_path: 5 is no text"),
        ("revision", ["x"], r"revision: \['x'\] is no text"),
    ],
)
def test_a_base_that_cannot_be_is_refused(tmp_path, name, value, said):
    save_adapter(adapted("llama"), tmp_path)
    path = tmp_path / "adapter_config.json"
    content = json.loads(path.read_text())
    content["base_model"][name] = value
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"adapter_config.json: {said}"):
        load_adapter(small_model("llama"), tmp_path)


def test_a_table_that_is_not_finite_is_like_none():
    table = BaseTable(96, 64, float("nan"))
    with pytest.raises(InputError, match="table of rms nan"):
        table.check_same(table)
