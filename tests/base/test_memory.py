"""Memory estimates against a real step's saved tensors, and what is refused."""

import subprocess
import sys

import pytest
import torch

from adept_llm import AdeptConfig, InputError, get_adapter, inject_adapter
from adept_llm.base.memory import GIB, Needs, check_device, estimate
from adept_llm.base.shapes import SHAPES, known_shape
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
    """What is kept of them, and three copies in fp32 that live at once when a step turns back."""
    config = small_model("llama-grouped").config
    needs = estimate(config, CONFIG, torch.float32, "none", 8, 40, packing, loss_on="all")
    real = really_saved("llama-grouped", packing, 8, 40, learnt=39)
    assert needs.activations == pytest.approx(real + 3 * 4 * 8 * 39 * 96, rel=0.15)


@pytest.mark.parametrize("packing", ["shared_prefix", "padded"])
@pytest.mark.parametrize("most", [200, 60])
def test_pieces_need_what_their_tokens_keep(packing, most):
    """However many texts fill them; whole batches of 8 texts of 40 tokens hold 317 and 352."""
    config = small_model("llama-grouped").config
    whole, found, beyond = (
        estimate(config, CONFIG, torch.float32, "none", 8, 40, packing, most=most).activations
        for most in (None, most, 352)
    )
    assert found < whole == beyond
    for texts in (2, 4, 8):
        each = (most - 5) // texts if packing == "shared_prefix" else most // texts - 5
        if 2 <= each < 40:
            assert really_saved("llama-grouped", packing, texts, each + 1) <= 1.25 * found


def test_a_piece_that_holds_no_text_is_refused():
    config = small_model("llama-grouped").config
    with pytest.raises(InputError, match="5 tokens hold no text behind 5 virtual ones; give more"):
        estimate(config, CONFIG, torch.float32, "none", 8, 40, most=5)


PEAK = """
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from adept_llm import AdeptConfig, inject_adapter
from adept_llm.base.memory import estimate
from adept_llm.data import Encoded
from adept_llm.packing import make_batcher, summed_loss
from adept_llm.training.peak_memory import peak_memory_gb

shape = LlamaConfig(
    vocab_size=60_000, hidden_size=64, intermediate_size=64, num_hidden_layers=1,
    num_attention_heads=2,
)
adapter = AdeptConfig("adept", 5, 3)
model = inject_adapter(LlamaForCausalLM(shape), adapter).train()
peaks = []
for tokens in (4, 400):
    batch = make_batcher(model)([Encoded([3], [4] * (tokens - 1), "", -1, 0)])
    logits = model(**batch["inputs"], use_cache=False).logits
    summed_loss(logits, batch["labels"]).backward()
    peaks.append(peak_memory_gb(torch.device("cpu")))
needs = estimate(shape, adapter, torch.float32, "none", 1, 400, loss_on="all")
print(peaks[1] - peaks[0], needs.activations / 1e9)
"""


def test_a_step_with_many_logits_peaks_where_the_estimate_says():
    """In a process of its own, by its resident size: 400 tokens of 60,000 logits each."""
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    real, estimated = map(float, done.stdout.split())
    assert estimated == pytest.approx(real, rel=0.15) and real > 0.3


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_counts_are_exact_for_every_architecture(name):
    model = small_model(name)
    needs = estimate(model.config, CONFIG, torch.float32, batch_size=2, num_tokens=8)
    assert needs.frozen_parameters == sum(p.numel() for p in model.parameters())
    adapter = get_adapter(inject_adapter(model, CONFIG))
    trained = sum(p.numel() for p in adapter.trained_parameters().values())
    assert needs.trained_parameters == trained and needs.adapter == 16 * trained


def test_llama_3_2_has_the_parameters_that_peft_counts():
    """3,213,364,224 with the 614,400 of its prompt tuning: method_comparison/MetaMathQA/results."""
    config = known_shape("meta-llama/Llama-3.2-3B")
    needs = estimate(config, AdeptConfig("prompt_tuning", 200), torch.bfloat16, "none", 1, 8)
    assert needs.trained_parameters == 614_400
    assert needs.frozen_parameters + needs.trained_parameters == 3_213_364_224


def test_llama_2_sizes_are_the_published_ones():
    """Weights in bf16 and NF4 with double quantisation, in GiB: DESIGN's own arithmetic."""
    found = {}
    for name in (one for one in SHAPES if "Llama-2" in one and "70b" not in one):
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
