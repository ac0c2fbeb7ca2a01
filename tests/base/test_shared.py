"""Several trees of modules over one base: nothing is held twice, and nothing is seen by another."""

import pytest
import torch

from adept_llm.adapters import get_adapter, inject_adapter
from adept_llm.base.loading import load_model
from adept_llm.base.shared import over_same_tensors
from adept_llm.demo import MODEL
from adept_llm.packing import use_packed_attention
from tests.builders import ARCHITECTURES, CONFIGS, small_model


def addresses(model):
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor.data_ptr() for name, tensor in tensors}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_copy_has_the_same_tensors_and_a_head_of_its_own_ties(name):
    model = small_model(name)
    copied = over_same_tensors(model)
    assert addresses(copied) == addresses(model)
    own = {id(module) for module in model.modules()}
    assert not any(id(module) in own for module in copied.modules())
    ids = torch.arange(3, 12)[None]
    with torch.no_grad():
        assert torch.equal(copied(ids).logits, model(ids).logits)


def test_what_is_put_into_one_is_not_seen_by_the_others():
    """Adapter, hooks, attention, mode."""
    model = small_model("llama")
    ids = torch.arange(3, 12)[None]
    before, named = model(ids).logits, set(addresses(model))
    one, other = (
        inject_adapter(over_same_tensors(model), CONFIGS[method]) for method in ("adept", "dept")
    )
    use_packed_attention(one.train())
    assert one.get_output_embeddings().weight is model.get_output_embeddings().weight
    assert get_adapter(one).weight is get_adapter(other).weight
    assert not other.training and not model.training
    assert other.config is not one.config
    assert set(addresses(model)) == named and torch.equal(model(ids).logits, before)
    assert not torch.equal(other(ids).logits, before)


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_quantised_weights_are_shared_too(quantization):
    """Int8 layers move their numbers at the first call, to where a copy must find them."""
    pytest.importorskip("bitsandbytes")
    model = load_model(str(MODEL), None, "float32", quantization)
    first, second = over_same_tensors(model), over_same_tensors(model)
    assert addresses(first) == addresses(model)
    ids = torch.arange(3, 12)[None]
    with torch.no_grad():
        found = [each(ids).logits for each in (first, second, first, model)]
    assert all(torch.equal(found[0], one) for one in found)
