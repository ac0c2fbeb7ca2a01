"""What to change where a step did not fit into memory: a line with numbers, in place of a trace."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from adept_llm.base.memory import Needs, gib
from adept_llm.errors import InputError
from adept_llm.training.arguments import AdeptTrainingArguments

# a CPU's allocator raises a RuntimeError that only its text tells from others
CPU_ALLOCATOR = "DefaultCPUAllocator: "
Estimated = Callable[[int, bool], Needs | None]
"""What a run needs by examples of a micro-batch, and whether gradients are checkpointed."""


@contextmanager
def explained(args: AdeptTrainingArguments, estimated: Estimated) -> Iterator[None]:
    """Say in one line what would fit.

    Raises:
        InputError: where memory runs out in between.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise InputError(advice(args, estimated)) from error
    except RuntimeError as error:
        if CPU_ALLOCATOR not in str(error):
            raise
        raise InputError(advice(args, estimated)) from error


def advice(args: AdeptTrainingArguments, estimated: Estimated) -> str:
    """Smaller micro-batches of the same global batch, checkpointing, 4 bits."""
    batch, checkpoints = args.per_device_train_batch_size, bool(args.gradient_checkpointing)
    steps = args.gradient_accumulation_steps
    ways = []
    if batch > 1:
        divisor = next(n for n in range(2, batch + 1) if batch % n == 0)
        smaller = batch // divisor
        ways.append(
            f"--per_device_train_batch_size {smaller} --gradient_accumulation_steps "
            f"{steps * divisor}, the same global batch{_of(estimated(smaller, checkpoints))}"
        )
    if not checkpoints:
        ways.append(f"--gradient_checkpointing true{_of(estimated(batch, True))}")
    ways.append("--quantization nf4")
    now = estimated(batch, checkpoints)
    was = f", of an estimated {gib(now.total)}" if now else ""
    return f"memory: full at a micro-batch of {batch}{was}; give {', or '.join(ways)}"


def _of(needs: Needs | None) -> str:
    return f" (estimated {gib(needs.total)})" if needs else ""
