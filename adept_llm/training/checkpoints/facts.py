"""What a resumed run must agree with, or its losses would be another run's.

Not among them: how long the run is, what is logged, saved and evaluated, and how many ranks there
are. A run that goes on takes those from its arguments.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from adept_llm.adapters.layer import AdeptEmbedding
from adept_llm.data import Encoded, Stored
from adept_llm.errors import InputError

if TYPE_CHECKING:
    from adept_llm.training.arguments import AdeptTrainingArguments

ARGUMENTS = (
    "seed", "learning_rate", "offset_learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs",
    "warmup_steps", "weight_decay", "optim", "optim_args", "adam_beta1", "adam_beta2",
    "adam_epsilon", "max_grad_norm", "packing", "length_bucket", "bf16", "fp16",
    "neftune_noise_alpha",
)  # fmt: skip
TABLE = "table of the base"


def facts(
    args: "AdeptTrainingArguments",
    adapter: AdeptEmbedding,
    table: str,
    examples: Sequence[Encoded],
    global_batch: int,
    quantization: str,
    loss_on: str = "target",
) -> dict[str, Any]:
    """Name -> value, of types that JSON knows.

    Args:
        args: of the run.
        adapter: that is trained.
        table: hash of the base's, from `table_fingerprint`.
        examples: that it is trained on.
        global_batch: examples of a step.
        quantization: of the base's linear layers.
        loss_on: what is learnt of each example.
    """
    given = args.to_dict()
    found = {
        "global batch": global_batch,
        "loss_on": loss_on,
        "training examples": f"{len(examples)} ({examples_fingerprint(examples)})",
        **{name: given.get(name) for name in ARGUMENTS},
        "data_seed": args.seed if args.data_seed is None else args.data_seed,
        "dtype": str(adapter.base.weight.dtype).removeprefix("torch."),
        "quantization": quantization,
        **asdict(adapter.config),
        TABLE: table,
    }
    return dict(json.loads(json.dumps(found)))


def check_same(folder: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Refuse to go on from a checkpoint of another run.

    Raises:
        InputError: naming the first thing in which they differ, and both values.
    """
    for name, value in ours.items():
        if name not in theirs:
            raise InputError(
                f"resume: {folder} says nothing of {name}: an older adept_llm wrote it; go on with "
                "that one, or give another --output_dir"
            )
        if theirs[name] != value:
            raise InputError(
                f"resume: {folder} was written with {name} {theirs[name]}, this run has {value}; "
                "give the same, or another --output_dir"
            )


def table_fingerprint(weight: Tensor) -> str:
    """Short hash of a whole table's bits [V, d]: a folder's name says little of what is in it."""
    digest = hashlib.sha256()
    for slab in weight.detach().split(4096):
        digest.update(slab.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]


def examples_fingerprint(examples: Sequence[Encoded]) -> str:
    """Short hash of encoded examples in their order; of stored ones it was made with them."""
    if isinstance(examples, Stored):
        return examples.about.ids
    digest = hashlib.sha256()
    for example in examples:
        digest.update(example.content())
    return digest.hexdigest()[:12]
