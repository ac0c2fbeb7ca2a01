"""What a run needs: parameters and bytes, from the model's shape alone; no weight is read."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from adept_llm.adapters import AdeptConfig, AdeptEmbedding, BaseTable, check_model
from adept_llm.base.saved_tensors import saved_bytes
from adept_llm.base.sharding import Sharding
from adept_llm.errors import InputError
from adept_llm.packing import computed_tokens, packed_batch, padded_batch, why_not_packed
from adept_llm.packing.losses import MOST_LOGITS

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

GIB = 2**30
USABLE = 0.9
WHOLE = Sharding()
# log-softmax, which is saved, its gradient and that of the logits live at once, in fp32
SAVED_BYTES_PER_LOGIT, PASSING_BYTES_PER_LOGIT = 4, 2 * 4
# a CPU's allocator raises a RuntimeError that only its text tells from others
CPU_ALLOCATOR = "DefaultCPUAllocator: "
# a step of a larger base takes minutes on a CPU: nobody does that unawares
MOST_WITHOUT_GPU = 1_000_000_000
# NF4 with double quantisation: 4 bits, 8 bits for each 64 weights, 32 bits for each 64 * 256
BYTES_PER_LINEAR_WEIGHT = {"int8": 1.0, "nf4": (4 + 8 / 64 + 32 / (64 * 256)) / 8}


@dataclass(frozen=True)
class Needs:
    """Bytes of one process, and counts of parameters."""

    frozen_parameters: int
    trained_parameters: int
    weights: int
    """The frozen base, or what one rank holds of it."""
    adapter: int
    """fp32 values, gradients and AdamW's two moments of the trained parameters."""
    activations: int
    """What a micro-batch keeps for its backward pass, and what passes beside it."""

    @property
    def total(self) -> int:
        """All of it; the allocator's own overhead is not counted."""
        return self.weights + self.adapter + self.activations

    def __str__(self) -> str:
        """One line."""
        return (
            f"{short_count(self.frozen_parameters)} frozen parameters, "
            f"{self.trained_parameters:,} trained; memory about {gib(self.total)} (weights "
            f"{gib(self.weights)}, activations {gib(self.activations)})"
        )


class _Text(NamedTuple):
    """A text of some length, for a collator."""

    prompt_ids: list[int]
    target_ids: list[int]
    id: str = ""
    passed_over: tuple[tuple[int, int], ...] = ()


def short_count(number: int) -> str:
    """A number of parameters in billions or millions, a small one in full."""
    for unit, name in ((10**9, "B"), (10**6, "M")):
        if number >= unit / 10:
            return f"{number / unit:.2f} {name}"
    return f"{number:,}"


def gib(size: float) -> str:
    """Bytes as GiB."""
    return f"{size / GIB:.1f} GiB" if size >= GIB / 10 else f"{size / 2**20:.1f} MiB"


def estimate(
    model_config: "PretrainedConfig",
    adapter: AdeptConfig,
    dtype: torch.dtype,
    quantization: str = "none",
    batch_size: int = 32,
    num_tokens: int = 256,
    packing: str = "shared_prefix",
    gradient_checkpointing: bool = False,
    loss_on: str = "target",
    sharding: Sharding = WHOLE,
    most: int | None = None,
    gpu: bool = True,
) -> Needs | None:
    """Count parameters, and the tensors that a step on the meta device saves for its backward pass.

    Of what passes, logits are counted, and one gradient inside a layer. Attention of a packed row
    keeps other things on a GPU than elsewhere: in half precision what varlen kernels keep, queries,
    output, and the keys and values of the prefix once for each text; else what the kernel keeps
    that would be chosen, which may be all weights.

    Args:
        model_config: the base's configuration.
        adapter: the adapter.
        dtype: of weights that are not quantised, and of the computation.
        quantization: none, int8 or nf4.
        batch_size: examples in a micro-batch.
        num_tokens: tokens of each text, virtual tokens not counted.
        packing: shared_prefix or padded.
        gradient_checkpointing: keep the input of each layer only, and one layer's tensors.
        loss_on: target: a label and EOS; else all tokens are learnt, which is too many for the
            assistant's turns, whose length only the rows know.
        sharding: of the base over ranks.
        most: tokens that are computed at a time, or None for a whole micro-batch.
        gpu: whether it is computed on one.

    Returns:
        The needs, or None for a model whose forward pass cannot be followed on the meta device.

    Raises:
        InputError: for what is no decoder of text, or fewer tokens at a time than a text needs.
    """
    base = meta_model(model_config, dtype)
    frozen = sum(p.numel() for p in base.parameters())
    linear = sum(
        module.weight.numel()
        for module in base.modules()
        if isinstance(module, torch.nn.Linear) and module is not base.get_output_embeddings()
    )
    weights = frozen * dtype.itemsize
    if quantization != "none":
        weights += int(linear * (BYTES_PER_LINEAR_WEIGHT[quantization] - dtype.itemsize))

    virtual = list(range(adapter.num_virtual_tokens))
    packed = packing == "shared_prefix" and not why_not_packed(
        model_config, len(virtual) + num_tokens
    )
    if most is not None:
        batch_size, num_tokens = _cut(batch_size, num_tokens, len(virtual), packed, most)
    # of longer targets a chunk at a time is computed, see packing.losses
    at_once = max(1, MOST_LOGITS // (model_config.vocab_size * batch_size))
    learnt = max(1, min(at_once, 2 if loss_on == "target" else num_tokens, num_tokens - 1))
    texts = [_Text([3] * (num_tokens - learnt), [2] * learnt)] * batch_size
    batch = (packed_batch if packed else padded_batch)(virtual, texts)
    varlen = gpu and dtype in (torch.float16, torch.bfloat16)
    try:
        one, two = (
            saved_bytes(meta_model(model_config, dtype, n), batch, adapter.base_dropout, varlen)
            for n in (1, 2)
        )
    except InputError:
        raise
    except Exception:  # an estimate is advice: models whose layers need real numbers go without
        return None
    layer, rest = two - one, 2 * one - two
    tokens, layers = batch["inputs"]["input_ids"].numel(), model_config.num_hidden_layers
    width, size = model_config.hidden_size, dtype.itemsize
    logits = batch["labels"].numel() * model_config.vocab_size
    # the adapter's own fp32 rows: E[x] / u, the offset, their sum
    kept = 3 * tokens * width * 4 + rest - SAVED_BYTES_PER_LOGIT * logits
    kept += layers * (tokens * width * size if gradient_checkpointing else layer)
    # logits are gone when the last layer is turned back, and a layer's tensors when the next one is
    turning = tokens * getattr(model_config, "intermediate_size", 4 * width) * size
    turning += layer if gradient_checkpointing else 0
    activations = kept + max(turning, (SAVED_BYTES_PER_LOGIT + PASSING_BYTES_PER_LOGIT) * logits)
    trained = _trained_parameters(base, adapter)
    return Needs(frozen, trained, sharding.held(weights, frozen), 16 * trained, activations)


def _cut(
    batch_size: int, num_tokens: int, virtual: int, packed: bool, most: int
) -> tuple[int, int]:
    """The number and length of texts that fill a piece: all of a micro-batch, if shorter ones.

    Raises:
        InputError: for a piece that holds no text.
    """
    if computed_tokens(virtual, [num_tokens - 1] * batch_size, packed) <= most:
        return batch_size, num_tokens
    if most <= virtual:
        raise InputError(
            f"tokens_per_batch: {most} tokens hold no text behind {virtual} virtual ones; give more"
        )
    if packed:
        texts = min(batch_size, most - virtual)
        return texts, (most - virtual) // texts + 1
    texts = min(batch_size, most // (virtual + 1))
    return texts, most // texts - virtual + 1


def largest_batch(needs: Callable[[int], Needs], memory: float) -> int:
    """Most examples of a micro-batch that fit, 0 for none.

    Args:
        needs: What a micro-batch of so many examples needs.
        memory: Bytes of the GPU; a tenth stays free for the allocator's gaps and the kernels' own.
    """
    room, one = memory * USABLE, needs(1).total
    if one > room:
        return 0
    # not quite a line: which kernel attends depends on the sizes
    batch, of_batch = 2, needs(2).total
    for _ in range(3):
        more = (of_batch - one) / (batch - 1)
        guess = max(2, 1 + int((room - one) / more))
        if guess == batch:
            break
        batch, of_batch = guess, needs(guess).total
    while batch > 1 and of_batch > room:
        batch -= 1
        of_batch = needs(batch).total
    return batch


def on_gpu(use_cpu: bool) -> bool:
    """Whether a run is computed on a GPU, where the user does not ask for the CPU."""
    return torch.cuda.is_available() and not use_cpu


def memory_here(gpu: bool) -> tuple[str, int]:
    """What it is that computes, in words, and its memory in bytes."""
    if gpu:
        return "the GPU", torch.cuda.get_device_properties(0).total_memory
    return "this machine", os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def check_device(name: str, needs: Needs, use_cpu: bool = False) -> None:
    """Refuse a run that this machine cannot hold, or a large model without a GPU.

    Args:
        name: the base, for the message.
        needs: from `estimate`.
        use_cpu: the user asks for the CPU by name.

    Raises:
        InputError: saying what is needed, what is here and the ways out.
    """
    gpu = on_gpu(use_cpu)
    here, size = memory_here(gpu)
    if needs.total > size:
        raise InputError(
            f"memory: {name} needs {needs}; {here} has {gib(size)}: give "
            "--tokens_per_batch (`adept-llm estimate --gpu_memory GIB` tells how many fit), "
            "--gradient_checkpointing true or --quantization nf4, or shard the base over several "
            "GPUs with --deepspeed ds_configs/zero3.json"
        )
    if not gpu and not use_cpu and needs.frozen_parameters > MOST_WITHOUT_GPU:
        raise InputError(
            f"memory: {name} needs a GPU: {needs}; there is none here, give --use_cpu true to "
            "train on the CPU all the same"
        )


def meta_model(
    model_config: "PretrainedConfig", dtype: torch.dtype, layers: int | None = None
) -> Any:
    """A model without storage, with all or so many layers."""
    from copy import deepcopy

    from transformers import AutoModelForCausalLM

    config = deepcopy(model_config)
    if layers is not None:
        config.num_hidden_layers = layers
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:layers]
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, dtype=dtype)
    except ValueError as error:
        raise InputError(
            f"model_name_or_path: a {config.model_type} is no decoder of text with an embedding "
            "layer over token ids; take one such as Llama"
        ) from error
    except Exception as error:  # each kind computes with its fields in code of its own
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"model_name_or_path: no {config.model_type} can be made by its config.json ({why})"
        ) from error


def _trained_parameters(model: "PreTrainedModel", config: AdeptConfig) -> int:
    base = check_model(model)
    table = BaseTable(base.num_embeddings, base.embedding_dim, rms=1.0)
    adapter = AdeptEmbedding(base, config, table)
    return sum(p.numel() for p in adapter.trained_parameters().values())


def is_full(error: Exception) -> bool:
    """Whether memory ran out."""
    full = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return full or CPU_ALLOCATOR in str(error)
