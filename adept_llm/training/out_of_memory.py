"""What to change where a step did not fit into memory: a line with numbers, in place of a trace."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from adept_llm.base.memory import Needs, gib, is_full
from adept_llm.errors import InputError
from adept_llm.training.arguments import AdeptTrainingArguments

Estimated = Callable[[int | None, bool], Needs | None]
"""What a run needs by the tokens computed at a time, and whether gradients are checkpointed."""


@contextmanager
def explained(advise: Callable[[], str]) -> Iterator[None]:
    """Say in one line what would fit.

    Args:
        advise: called where memory ran out; what then follows "memory: full".

    Raises:
        InputError: where memory runs out in between.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_full(error):
            raise
        raise InputError(f"memory: full{advise()}") from error


def advice(args: AdeptTrainingArguments, estimated: Estimated, largest: int, longest: int) -> str:
    """Fewer tokens at a time of the same global batch, checkpointing, 4 bits.

    Args:
        args: of the run.
        estimated: what it needs.
        largest: tokens of its largest piece or micro-batch.
        longest: of its longest row alone.
    """
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
    return f"; the run computes up to {largest:,} tokens at a time{was}; give {', or '.join(ways)}"


def _of(needs: Needs | None) -> str:
    return f" (estimated {gib(needs.total)})" if needs else ""
