"""What must not happen to an injected model: casts, stale positions, unreadable checkpoints."""

import pytest
import torch

from adept_llm import InputError, get_adapter, inject_adapter
from adept_llm.adapters import METHODS
from tests.builders import CONFIGS, VOCAB, small_model

IDS = torch.tensor([[5, 6, 7, 8]])


def injected(method="adept", dtype=torch.float32):
    return inject_adapter(small_model("llama", dtype), CONFIGS[method])


@pytest.mark.parametrize("cast", [lambda m: m.to(torch.bfloat16), lambda m: m.half()])
@pytest.mark.parametrize("method", METHODS)
def test_casting_the_model_leaves_the_masters(method, cast):
    """INV 4; and what is random and frozen keeps its bits too."""
    model = injected(method)
    before = {n: v.clone() for n, v in get_adapter(model).saved_values().items()}
    model = cast(model)
    assert get_adapter(model).weight.dtype != torch.float32
    after = get_adapter(model).saved_values()
    assert all(v.dtype == before[n].dtype and torch.equal(v, before[n]) for n, v in after.items())
    assert {p.dtype for p in get_adapter(model).trained_parameters().values()} == {torch.float32}
    assert model(IDS).logits.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_masters_on_a_base_of_half_precision(dtype):
    trained = get_adapter(injected(dtype=dtype)).trained_parameters()
    assert {p.dtype for p in trained.values()} == {torch.float32}


def test_autocast_does_not_touch_the_adapter():
    model = injected()
    torch.nn.init.normal_(get_adapter(model).offset.w2)
    plain = get_adapter(model)(IDS)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(get_adapter(model)(IDS), plain)


def test_dept_positions_hold_for_one_call():
    model = injected("dept")
    mask = torch.tensor([[0, 1, 1, 1]])
    model(IDS, attention_mask=mask)
    with pytest.raises(InputError, match="whole model"):
        model.model(IDS)


def test_dept_with_given_embeddings_is_left_alone():
    model = injected("dept")
    rows = torch.zeros(1, 3, model.config.hidden_size)
    assert model(inputs_embeds=rows).logits.shape == (1, 3, VOCAB)
