"""The frozen base does not drop while an adapter is trained, unless it is asked to."""

from dataclasses import replace

import pytest
import torch

from adept_llm import inject_adapter, load_adapter, save_adapter
from adept_llm.adapters import get_adapter
from tests.builders import CONFIGS, adapted, both, make_examples, prefixed, small_model

DROPPING = ["gpt2", "opt"]  # 0.1 by default


def logits_of(model):
    torch.manual_seed(0)
    return model(prefixed(model)).logits


@pytest.mark.parametrize("name", DROPPING)
def test_training_mode_gives_the_logits_of_evaluation(name):
    model = adapted(name)
    expected = logits_of(model)
    assert torch.allclose(logits_of(model.train()), expected, atol=1e-5)
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("name", DROPPING)
def test_packed_and_padded_losses_agree_in_training_mode(name):
    """They drop different tokens: 5.390 against 5.230 at the first step of GPT-2."""
    padded, packed = both(adapted(name).train(), make_examples([(3, 2), (9, 1), (6, 3)]))
    assert packed[0] == pytest.approx(padded[0], rel=1e-5)


@pytest.mark.parametrize("name", DROPPING)
def test_a_loaded_adapter_trains_without_dropout_too(name, tmp_path):
    model = adapted(name)
    save_adapter(model, tmp_path)
    loaded = load_adapter(small_model(name), tmp_path).train()
    assert torch.allclose(logits_of(loaded), logits_of(model.eval()), atol=1e-5)


@pytest.mark.parametrize("name", DROPPING)
def test_base_dropout_can_be_asked_for(name, tmp_path):
    config = replace(CONFIGS["adept"], base_dropout=True)
    model = inject_adapter(small_model(name), config)
    expected = logits_of(model)
    assert not torch.allclose(logits_of(model.train()), expected, atol=1e-3)
    save_adapter(model, tmp_path)
    assert get_adapter(load_adapter(small_model(name), tmp_path)).config.base_dropout


@pytest.mark.parametrize("name", DROPPING)
def test_the_bases_configuration_keeps_its_rates(name):
    """A merged model is saved with it."""
    before = small_model(name).config.to_dict()
    assert adapted(name).config.to_dict() == before
