"""What to change where a step did not fit into memory: a line with numbers, in place of a trace."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from adept_llm.base.memory import Needs, gib
from adept_llm.errors import InputError
from adept_llm.training.arguments import AdeptTrainingArguments

# a CPU's allocator raises a RuntimeError that only its text tells from others
CPU_ALLOCATOR = "DefaultCPUAllocator: "
Estimated = Callable[[int | None, bool], Needs | None]
"""What a run needs by the tokens computed at a time, and whether gradients are checkpointed."""
Sizes = Callable[[], tuple[int, int]]
"""Tokens of the largest piece or micro-batch of a run, and of its longest row alone."""


@contextmanager
def explained(args: AdeptTrainingArguments, estimated: Estimated, sizes: Sizes) -> Iterator[None]:
    """Say in one line what would fit.

    Raises:
        InputError: where memory runs out in between.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_full(error):
            raise
        raise InputError(advice(args, estimated, *sizes())) from error


def is_full(error: Exception) -> bool:
    """Whether memory ran out."""
    full = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return full or CPU_ALLOCATOR in str(error)


def advice(args: AdeptTrainingArguments, estimated: Estimated, largest: int, longest: int) -> str:
    """Fewer tokens at a time of the same global batch, checkpointing, 4 bits."""
    checkpoints = bool(args.gradient_checkpointing)
    ways = []
    if longest < largest:
        most = max(longest, largest // 2)
        ways.append(
            f"--tokens_per_batch {most}, which changes no loss{_of(estimated(most, checkpoints))}"
        )
    if not checkpoints:
        ways.append(f"--gradient_checkpointing true{_of(estimated(largest, True))}")
    ways.append("--quantization nf4")
    now = estimated(largest, checkpoints)
    was = f", an estimated {gib(now.total)}" if now else ""
    return (
        f"memory: full; the run computes up to {largest:,} tokens at a time{was}; give "
        f"{', or '.join(ways)}"
    )


def _of(needs: Needs | None) -> str:
    return f" (estimated {gib(needs.total)})" if needs else ""
