"""Attention functions, quantised models and checkpointing: as transformers has them today."""

import pytest
import torch
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

from adept_llm.base.quantization import loading_options
from adept_llm.compat.transformers import (
    CHECKPOINTING,
    accept_quantized,
    checkpoint_alike,
    checkpoint_reentrantly,
    is_quantized,
    register_attention,
    stock_attention,
)
from adept_llm.demo import MODEL
from tests.builders import small_model
from tests.training.runs import trainer_of


@pytest.fixture
def probe():
    """A registered attention function that notes what it is given."""
    seen = []

    def attention(module, query, key, value, attention_mask, **kwargs):
        seen.append((attention_mask, kwargs.pop("layout", None)))
        return stock_attention()(module, query, key, value, attention_mask, **kwargs)

    register_attention("probe", attention)
    model = small_model("llama")
    model.set_attn_implementation("probe")
    return model, seen


def test_a_registered_function_is_called_with_the_masks_of_sdpa(probe):
    model, seen = probe
    ids = torch.tensor([[0, 0, 5, 6, 7], [4, 5, 6, 7, 8]])
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    with torch.no_grad():
        found = model(input_ids=ids, attention_mask=mask).logits
        expected = small_model("llama")(input_ids=ids, attention_mask=mask).logits
    assert torch.equal(found, expected)
    assert [mask.shape for mask, _ in seen] == [(2, 1, 5, 5)] * 2


def test_unknown_arguments_and_prepared_masks_reach_the_function(probe):
    """Packing rests on both; neither is promised."""
    model, seen = probe
    layout, mask = object(), torch.ones(1, 1, 3, 3, dtype=torch.bool)
    with torch.no_grad():
        model(input_ids=torch.tensor([[5, 6, 7]]), attention_mask=mask, layout=layout)
    assert all(given is mask and told is layout for given, told in seen) and len(seen) == 2


def test_trainer_takes_a_quantised_base_only_when_prepared(tmp_path):
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    options = loading_options("nf4", torch.float32)
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32, **options)
    assert is_quantized(model) and not is_quantized(small_model("llama"))
    with pytest.raises(ValueError, match="quantized"):
        Trainer(model, args)
    accept_quantized(model)
    assert Trainer(model, args).model is model


@pytest.mark.parametrize("reentrant", [False, True])
def test_trainer_turns_reentrant_checkpointing_on(tmp_path, reentrant):
    """Through whichever method and argument the installed Trainer uses."""
    trainer = trainer_of(tmp_path, max_steps=1, save_strategy="no", gradient_checkpointing=True)
    if reentrant:
        checkpoint_reentrantly(trainer.model)
    trainer.train()
    layer = trainer.model.model.layers[0]
    assert layer.gradient_checkpointing
    assert layer._gradient_checkpointing_func.keywords["use_reentrant"] is reentrant


def test_layers_are_checkpointed_as_those_of_another_model():
    """In its way, and no more of them."""
    model, other = small_model("llama"), small_model("llama")
    for one in (model, other):
        one.train()
    getattr(other, next(n for n in CHECKPOINTING if hasattr(other, f"{n}_enable")) + "_enable")(
        {"use_reentrant": False}
    )
    first, *rest = other.model.layers
    for layer in rest:
        layer.gradient_checkpointing = False
    checkpoint_alike(model, other)
    found = [layer.gradient_checkpointing for layer in model.model.layers]
    assert found == [True, *[False] * len(rest)] and rest
    function = model.model.layers[0]._gradient_checkpointing_func
    assert function is first._gradient_checkpointing_func


def test_the_model_of_one_process_is_not_spread_over_gpus(tmp_path, monkeypatch):
    """Copies on other GPUs would get parts of a packed row; stock arguments still ask for them."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert TrainingArguments(output_dir=str(tmp_path), report_to="none").n_gpu == 2
    trainer = trainer_of(tmp_path, max_steps=1, save_strategy="no", use_cpu=False)
    trainer.train()
    assert not isinstance(trainer.model_wrapped, torch.nn.DataParallel)
