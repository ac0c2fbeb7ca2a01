"""adept-llm estimate: parameters, memory and time of a run, before anything is downloaded."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import torch

from adept_llm.adapters import AdeptConfig
from adept_llm.base.loading import context_of, load_config, pick_dtype
from adept_llm.base.memory import GIB, Needs, estimate, gib, largest_batch
from adept_llm.base.shapes import known_shape
from adept_llm.base.sharding import Sharding
from adept_llm.cli.columns import print_columns
from adept_llm.cli.parsing import parse
from adept_llm.data import LOSSES
from adept_llm.errors import InputError
from adept_llm.packing import PACKINGS, computed_tokens, why_not_packed
from adept_llm.training.arguments import DTYPES
from adept_llm.training.deepspeed_config import read_deepspeed

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@dataclass(frozen=True)
class EstimateArguments:
    """Which base, the size of a micro-batch, and the machines.

    Raises:
        InputError: for sizes that cannot be.
    """

    model_name_or_path: str = field(metadata={"help": "hub name or folder of the base model"})
    dtype: str = field(
        default="bfloat16", metadata={"help": "of the frozen weights", "choices": DTYPES}
    )
    per_device_train_batch_size: int = field(default=32, metadata={"help": "examples"})
    num_tokens: int = field(
        default=256, metadata={"help": "tokens of each text, virtual tokens not counted"}
    )
    tokens_per_batch: int | None = field(
        default=None, metadata={"help": "most tokens that are computed at a time"}
    )
    packing: str = field(
        default="shared_prefix", metadata={"help": "or padded", "choices": PACKINGS}
    )
    loss_on: str = field(default="target", metadata={"help": "as in train", "choices": LOSSES})
    deepspeed: str | None = field(
        default=None, metadata={"help": "configuration, as in train; read for stage and offload"}
    )
    ranks: int = field(default=1, metadata={"help": "GPUs of all nodes"})
    gpu_memory: float | None = field(
        default=None,
        metadata={"help": "GiB of one GPU; tells the largest micro-batch that fits"},
    )
    tokens_per_second: float | None = field(
        default=None,
        metadata={"help": "of one GPU, as a short run prints them; tells how long a run takes"},
    )
    examples: int | None = field(
        default=None, metadata={"help": "of the whole run, epochs counted; for the time"}
    )

    def __post_init__(self) -> None:
        if self.per_device_train_batch_size < 1:
            raise InputError("per_device_train_batch_size: must be at least 1")
        if self.num_tokens < 2:
            raise InputError("num_tokens: must be at least 2, a prompt and its answer")
        if self.gpu_memory is not None and self.tokens_per_batch is not None:
            raise InputError(
                "gpu_memory: tells how many tokens fit at a time, and --tokens_per_batch gives "
                "them; leave out one of them"
            )
        for name in ("tokens_per_batch", "gpu_memory", "tokens_per_second", "examples"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"{name}: must be above 0")
        if (self.tokens_per_second is None) != (self.examples is None):
            raise InputError("time: give both --tokens_per_second and --examples, or neither")
        self.sharding()

    def sharding(self) -> Sharding:
        """Of the base over the GPUs."""
        return Sharding.of(read_deepspeed(self.deepspeed) if self.deepspeed else {}, self.ranks)


def main(argv: Sequence[str]) -> None:
    """Print one row for each form of the frozen base, with and without checkpointing.

    Raises:
        InputError: for a model that cannot be estimated.
    """
    args, adapter = parse([EstimateArguments, AdeptConfig], argv, command="estimate")
    config = known_shape(args.model_name_or_path) or load_config(args.model_name_or_path)
    dtype = pick_dtype(args.dtype, config)
    rows = []
    for quantization in ("none", "int8", "nf4"):
        for checkpointing in (False, True):
            form = partial(of_batch, args, adapter, config, dtype, quantization, checkpointing)
            needs = form(args.per_device_train_batch_size)
            base = str(dtype).removeprefix("torch.") if quantization == "none" else quantization
            rows.append([
                base, "yes" if checkpointing else "no",
                *map(gib, (needs.weights, needs.adapter, needs.activations, needs.total)),
            ])  # fmt: skip
            if args.gpu_memory:
                largest = largest_batch(form, args.gpu_memory * GIB)
                rows[-1] += [str(largest or "none"), tokens_of(args, adapter, config, largest)]
    print(
        f"{args.model_name_or_path}: {needs.frozen_parameters:,} frozen parameters, "
        f"{needs.trained_parameters:,} trained; saved adapter {gib(4 * needs.trained_parameters)}"
    )
    heads = ["base", "gradient checkpointing", "weights", "adapter", "activations", "total"]
    if args.gpu_memory:
        heads += ["largest batch", "its tokens"]
    print_columns(heads, rows)
    for line in notes(args, adapter, context_of(config)):
        print(line)


def of_batch(
    args: EstimateArguments,
    adapter: AdeptConfig,
    config: "PretrainedConfig",
    dtype: torch.dtype,
    quantization: str,
    checkpointing: bool,
    batch_size: int,
) -> Needs:
    """What one form of the base needs for a micro-batch.

    Raises:
        InputError: for a model that cannot be estimated.
    """
    needs = estimate(
        config, adapter, dtype, quantization, batch_size,
        args.num_tokens, args.packing, checkpointing, args.loss_on, args.sharding(),
        args.tokens_per_batch,
    )  # fmt: skip
    if needs is None:
        raise InputError(f"model_name_or_path: {args.model_name_or_path} cannot be estimated")
    return needs


def tokens_of(
    args: EstimateArguments, adapter: AdeptConfig, config: "PretrainedConfig", batch_size: int
) -> str:
    """What --tokens_per_batch would be for so many examples."""
    m = adapter.num_virtual_tokens
    packed = args.packing == "shared_prefix" and not why_not_packed(config, m + args.num_tokens)
    texts = [args.num_tokens - 1] * batch_size
    return f"{computed_tokens(m, texts, packed):,}" if texts else "none"


def notes(args: EstimateArguments, adapter: AdeptConfig, context: int | None) -> list[str]:
    """What the table does not say: sharding, the context, the time."""
    sharding, found = args.sharding(), []
    if sharding.stage == 3:
        where = "in the host's memory" if sharding.offload else f"over {sharding.ranks} GPUs"
        found.append(
            f"weights: sliced {where}, and at most {sharding.most_live:,} parameters whole at a "
            "time (stage3_max_live_parameters)"
        )
    elif sharding.ranks > 1:
        found.append(f"weights: whole on each of {sharding.ranks} GPUs")
    length = adapter.num_virtual_tokens + args.num_tokens
    if context is not None and length > context:
        found.append(
            f"warning: {adapter.num_virtual_tokens} virtual tokens and {args.num_tokens} of a text "
            f"exceed the context of {context:,}; train refuses that"
        )
    if args.tokens_per_second and args.examples:
        tokens = args.examples * args.num_tokens
        hours = tokens / args.tokens_per_second / args.ranks / 3600
        told = f"{hours / 24:.1f} days" if hours > 48 else f"{hours:.1f} hours"
        found.append(
            f"time: {tokens:,} tokens at {args.tokens_per_second:,.0f} tokens/s on each of "
            f"{args.ranks} GPUs take {told}"
        )
    return found
