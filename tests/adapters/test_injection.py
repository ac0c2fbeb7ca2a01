"""Models that cannot carry an adapter are refused in one line, before anything is changed."""

import pytest
import torch
from accelerate import cpu_offload
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)

from adept_llm import AdeptConfig, InputError, inject_adapter, load_adapter, save_adapter
from adept_llm.demo import MODEL
from tests.builders import COMMON, VOCAB, WIDTH, adapted, small_model

CONFIG = AdeptConfig("adept", 4, 3)


def encoder_decoder():
    return T5ForConditionalGeneration(
        T5Config(vocab_size=VOCAB, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    )


def multimodal():
    small = {
        "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2
    }  # fmt: skip
    text = {**small, "vocab_size": VOCAB, "num_key_value_heads": 1, "head_dim": 4}
    vision = {**small, "image_size": 16, "patch_size": 8}
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=1)
    return Gemma3ForConditionalGeneration(config)


def second_table():
    model = small_model("llama")
    model.per_layer = nn.Embedding(VOCAB, 3)
    return model


def table_by_layers(kind):
    """Gemma 3n and 4: ids are looked up once more for each layer, in a table of another size."""
    sizes = {
        "vocab_size_per_layer_input": 80, "hidden_size_per_layer_input": 8, "num_hidden_layers": 4,
        "num_key_value_heads": 2, "head_dim": 8, "num_kv_shared_layers": 0,
        "layer_types": ["sliding_attention"] * 3 + ["full_attention"],
    }  # fmt: skip
    if kind == "gemma3n_text":
        sizes |= {
            "intermediate_size": [48] * 4, "laurel_rank": 4, "altup_num_inputs": 2,
            "activation_sparsity_pattern": None,
        }  # fmt: skip
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**COMMON, **sizes}))


def classifier():
    config = AutoConfig.for_model("llama", **COMMON, num_labels=5)
    return AutoModelForSequenceClassification.from_config(config)


def offloaded():
    model = small_model("llama")
    cpu_offload(model, execution_device="cpu")
    return model


def unknown_layer():
    class Hashed(nn.Embedding):
        pass

    model = small_model("llama")
    model.set_input_embeddings(Hashed(VOCAB, WIDTH))
    return model


def no_table():
    model = small_model("llama")
    model.set_input_embeddings(nn.Linear(2, WIDTH))
    return model


def with_entry(value):
    model = small_model("llama")
    with torch.no_grad():
        model.get_input_embeddings().weight[3, 5] = value
    return model


def all_zero():
    model = small_model("llama")
    nn.init.zeros_(model.get_input_embeddings().weight)
    return model


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (encoder_decoder, "encoder-decoder"),
        (multimodal, "text model"),
        (second_table, r"second table \(per_layer\)"),
        (lambda: table_by_layers("gemma3n_text"), "second table.*per_layer"),
        (lambda: table_by_layers("gemma4_text"), "second table.*per_layer"),
        (classifier, "LlamaForSequenceClassification has no head over the vocabulary"),
        (lambda: small_model("llama").model, "LlamaModel has no head.*AutoModelForCausalLM"),
        (lambda: small_model("llama").to("meta"), "device meta.*in memory"),
        (offloaded, "device meta, offloaded"),
        (unknown_layer, "Hashed"),
        (no_table, "no embedding layer"),
        (lambda: with_entry(float("inf")), "rms inf"),
        (lambda: with_entry(float("nan")), "rms nan"),
        (all_zero, "rms 0"),
        (adapted, "already has an adapter"),
    ],
)
def test_models_that_cannot_carry_an_adapter(build, message):
    model = build()
    trained = [p.requires_grad for p in model.parameters()]
    with pytest.raises(InputError, match=message) as caught:
        inject_adapter(model, CONFIG)
    assert "\n" not in str(caught.value)
    assert [p.requires_grad for p in model.parameters()] == trained


def test_a_table_of_positions_is_no_second_one():
    """GPT-2 has one, which may have as many rows as there are words."""
    inject_adapter(small_model("gpt2"), CONFIG)
    config = AutoConfig.for_model("gpt2", **{**COMMON, "max_position_embeddings": VOCAB})
    inject_adapter(AutoModelForCausalLM.from_config(config), CONFIG)


def test_an_adapter_of_another_vocabulary_is_refused(tmp_path):
    model = AutoModelForCausalLM.from_pretrained(MODEL)
    save_adapter(inject_adapter(model, CONFIG), tmp_path)
    longer = AutoModelForCausalLM.from_pretrained(MODEL)
    longer.resize_token_embeddings(longer.config.vocab_size + 1)
    with pytest.raises(InputError, match="vocabulary of"):
        load_adapter(longer, tmp_path)
