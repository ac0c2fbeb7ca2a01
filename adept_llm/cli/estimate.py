"""adept-llm estimate: parameters and memory of a run, before anything is downloaded."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from adept_llm.adapters import AdeptConfig
from adept_llm.base.loading import load_config, pick_dtype
from adept_llm.base.memory import estimate, gib, known_shape
from adept_llm.cli.columns import print_columns
from adept_llm.cli.parsing import parse
from adept_llm.data import LOSSES
from adept_llm.errors import InputError
from adept_llm.packing import PACKINGS
from adept_llm.training.arguments import DTYPES


@dataclass(frozen=True)
class EstimateArguments:
    """Which base, and the size of a micro-batch."""

    model_name_or_path: str = field(metadata={"help": "hub name or folder of the base model"})
    dtype: str = field(
        default="bfloat16", metadata={"help": "of the frozen weights", "choices": DTYPES}
    )
    per_device_train_batch_size: int = field(default=32, metadata={"help": "examples"})
    num_tokens: int = field(
        default=256, metadata={"help": "tokens of each text, virtual tokens not counted"}
    )
    packing: str = field(
        default="shared_prefix", metadata={"help": "or padded", "choices": PACKINGS}
    )
    loss_on: str = field(default="target", metadata={"help": "as in train", "choices": LOSSES})

    def __post_init__(self) -> None:
        if self.per_device_train_batch_size < 1:
            raise InputError("per_device_train_batch_size: must be at least 1")
        if self.num_tokens < 2:
            raise InputError("num_tokens: must be at least 2, a prompt and its answer")


def main(argv: Sequence[str]) -> None:
    """Print one row for each form of the frozen base, with and without checkpointing."""
    args, adapter = parse([EstimateArguments, AdeptConfig], argv, command="estimate")
    config = known_shape(args.model_name_or_path) or load_config(args.model_name_or_path)
    dtype = pick_dtype(args.dtype, config)
    rows = []
    for quantization in ("none", "int8", "nf4"):
        for checkpointing in (False, True):
            needs = estimate(
                config, adapter, dtype, quantization, args.per_device_train_batch_size,
                args.num_tokens, args.packing, checkpointing, args.loss_on,
            )  # fmt: skip
            if needs is None:
                raise InputError(f"model_name_or_path: {config.model_type} cannot be estimated")
            base = str(dtype).removeprefix("torch.") if quantization == "none" else quantization
            rows.append([
                base, "yes" if checkpointing else "no",
                *map(gib, (needs.weights, needs.adapter, needs.activations, needs.total)),
            ])  # fmt: skip
    assert needs is not None
    print(
        f"{args.model_name_or_path}: {needs.frozen_parameters:,} frozen parameters, "
        f"{needs.trained_parameters:,} trained; saved adapter {gib(4 * needs.trained_parameters)}"
    )
    print_columns(
        ["base", "gradient checkpointing", "weights", "adapter", "activations", "total"], rows
    )
