"""What must not happen to an injected model: casts, stale positions, unreadable checkpoints."""

import pytest
import torch

from adept_llm import InputError, get_adapter, inject_adapter
from adept_llm.adapters import METHODS, virtual_token_ids, without_adapter
from tests.builders import CONFIGS, VOCAB, adapted, small_model

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


def test_casting_the_model_leaves_the_gradients_of_the_masters():
    """Of another dtype than its parameter, a gradient stops the optimizer."""
    model = injected()
    model(IDS).logits.sum().backward()
    trained = get_adapter(model).trained_parameters()
    before = {name: value.grad.clone() for name, value in trained.items()}
    model.to(torch.bfloat16)
    for name, value in get_adapter(model).trained_parameters().items():
        assert value.grad.dtype == value.dtype == torch.float32
        assert torch.equal(value.grad, before[name])
    torch.optim.AdamW(trained.values()).step()


@pytest.mark.parametrize("m", [0, 5])
@pytest.mark.parametrize("id_", [-1, VOCAB, VOCAB + 5])
def test_an_id_that_is_no_word_is_refused_as_by_the_base(id_, m):
    """It was read as word 0 where there is no P; with P, V.. are its rows."""
    model = adapted(m=m)
    ids = torch.tensor([[5, id_]])
    adapter = get_adapter(model)
    if id_ != VOCAB or not m:
        with pytest.raises(IndexError):
            adapter(ids)
    with without_adapter(model), pytest.raises(IndexError):
        adapter(ids)


def test_within_without_adapter_another_one_ends_by_itself():
    model, base = adapted(), small_model("llama-grouped")
    with without_adapter(model):
        with without_adapter(model):
            pass
        assert torch.equal(model(IDS).logits, base(IDS).logits)
        assert virtual_token_ids(model) == []
    assert not torch.equal(model(IDS).logits, base(IDS).logits)
    assert len(virtual_token_ids(model)) == 5


def test_the_table_of_an_injected_model_is_not_resized():
    """It would take the adapter's place, silently."""
    model = injected()
    before = model(IDS).logits
    with pytest.raises(InputError, match="resize the base model before"):
        model.resize_token_embeddings(VOCAB + 8)
    assert model.resize_token_embeddings(VOCAB) is get_adapter(model)  # as scripts call it anyway
    assert torch.equal(model(IDS).logits, before)


def test_virtual_ids_within_without_adapter_are_told():
    """A kernel on a GPU would end the process; what a mask hides is padding."""
    model, base = adapted(), small_model("llama-grouped")
    ids, mask = torch.tensor([[VOCAB, 5, 6]]), torch.tensor([[0, 1, 1]])
    with without_adapter(model):
        with pytest.raises(InputError, match="give it words alone"):
            model(ids)
        padded = base(ids.clamp(max=VOCAB - 1), attention_mask=mask).logits
        assert torch.equal(model(ids, attention_mask=mask).logits[:, 1:], padded[:, 1:])


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
