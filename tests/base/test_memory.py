"""Memory estimates against a real step's saved tensors, and what is refused."""

import pytest
import torch

from adept_llm import AdeptConfig, InputError, get_adapter, inject_adapter
from adept_llm.base.memory import GIB, KNOWN_SHAPES, Needs, check_device, estimate, known_shape
from adept_llm.data import Encoded
from adept_llm.packing import make_batcher
from tests.builders import ARCHITECTURES, small_model

CONFIG = AdeptConfig("adept", 5, 3)


def really_saved(name, packing, batch, tokens, learnt=2):
    """Bytes of the distinct tensors that a real step keeps for its backward pass."""
    model = inject_adapter(small_model(name), CONFIG).train()
    row = Encoded([3] * (tokens - learnt), [4] * learnt, "", -1, 0)
    given = make_batcher(model, packing)([row] * batch)
    inputs, labels = given["inputs"], given["labels"]
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = (tensor.untyped_storage().nbytes(), tensor)
        return tensor

    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = model(**inputs, use_cache=False).logits.flatten(0, -2)
        torch.nn.functional.cross_entropy(logits, labels.flatten())
    return sum(size for pointer, (size, _) in kept.items() if pointer not in own)


@pytest.mark.parametrize("packing", ["shared_prefix", "padded"])
@pytest.mark.parametrize("name", ["llama-grouped", "qwen3", "gemma3", "gpt_neox", "gpt2"])
def test_activations_are_what_a_real_step_keeps(name, packing):
    config = small_model(name).config
    needs = estimate(config, CONFIG, torch.float32, "none", 8, 40, packing)
    real = really_saved(name, packing, 8, 40)
    assert needs.activations == pytest.approx(real, rel=0.25)


@pytest.mark.parametrize("packing", ["shared_prefix", "padded"])
def test_the_logits_of_all_tokens_are_counted(packing):
    """They are most of what a model with a large vocabulary keeps."""
    config = small_model("llama-grouped").config
    needs = estimate(config, CONFIG, torch.float32, "none", 8, 40, packing, loss_on="all")
    real = really_saved("llama-grouped", packing, 8, 40, learnt=39)
    assert needs.activations == pytest.approx(real, rel=0.2)
    assert (
        needs.activations
        > 1.1 * estimate(config, CONFIG, torch.float32, "none", 8, 40, packing).activations
    )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_counts_are_exact_for_every_architecture(name):
    model = small_model(name)
    needs = estimate(model.config, CONFIG, torch.float32, batch_size=2, num_tokens=8)
    assert needs.frozen_parameters == sum(p.numel() for p in model.parameters())
    adapter = get_adapter(inject_adapter(model, CONFIG))
    trained = sum(p.numel() for p in adapter.trained_parameters().values())
    assert needs.trained_parameters == trained and needs.adapter == 16 * trained


def test_llama_2_sizes_are_the_published_ones():
    """Weights in bf16 and NF4 with double quantisation, in GiB: DESIGN's own arithmetic."""
    found = {}
    for name in KNOWN_SHAPES:
        for quantization in ("none", "nf4"):
            needs = estimate(known_shape(name), AdeptConfig(), torch.bfloat16, quantization, 1, 8)
            found[name[-6:-3], quantization] = round(needs.weights / GIB, 2)
    assert found == {
        ("-7b", "none"): 12.55, ("-7b", "nf4"): 3.6,
        ("13b", "none"): 24.24, ("13b", "nf4"): 6.71,
    }  # fmt: skip


def test_checkpointing_and_packing_save_memory():
    config = known_shape("meta-llama/Llama-2-7b-hf")
    sizes = [
        estimate(config, AdeptConfig(), torch.bfloat16, "none", 16, 64, packing, ck).activations
        for packing, ck in (("padded", False), ("shared_prefix", False), ("shared_prefix", True))
    ]
    assert sizes[0] > 1.5 * sizes[1] > 3 * sizes[2]


def test_what_a_machine_cannot_hold_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = known_shape("meta-llama/Llama-2-7b-hf")
    small = estimate(config, AdeptConfig(), torch.bfloat16, "nf4", 1, 16)
    with pytest.raises(InputError, match="needs a GPU.*--use_cpu true"):
        check_device("base", small)
    check_device("base", small, use_cpu=True)
    huge = estimate(config, AdeptConfig(), torch.bfloat16, "none", 4096, 4000)
    with pytest.raises(InputError, match="--gradient_checkpointing true"):
        check_device("base", huge, use_cpu=True)


@pytest.mark.parametrize(
    "number, told", [(6_738_415_616, "6.74 B"), (546_816, "0.55 M"), (54_816, "54,816")]
)
def test_small_models_are_not_told_as_none(number, told):
    """'0.00 B frozen parameters' of a tiny model."""
    assert str(Needs(number, 1, 1, 1, 1)).startswith(f"{told} frozen parameters")
