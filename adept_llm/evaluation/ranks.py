"""Batches of an evaluation, dealt out to the ranks; each rank ends with all results.

Batches are cut before they are dealt out, so that the numbers are those of one process. Where the
base is sharded, all ranks must read equally many: one that would have fewer repeats its first.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch.distributed as dist

T = TypeVar("T")


def batches(order: Sequence[int], batch_size: int) -> list[list[int]]:
    """This rank's batches of indices, equally many on each rank; all of them in one process.

    Args:
        order: Of the indices; neighbours of like length waste the least padding.
        batch_size: Indices in a batch.
    """
    cut = [list(order[n : n + batch_size]) for n in range(0, len(order), batch_size)]
    if not dist.is_initialized():
        return cut
    world, rank = dist.get_world_size(), dist.get_rank()
    # in turns that change direction: of batches that grow, nobody gets the longer one each time
    turns = [cut[n : n + world] for n in range(0, len(cut), world)]
    places = [rank if n % 2 == 0 else world - 1 - rank for n in range(len(turns))]
    mine = [turn[place] for turn, place in zip(turns, places, strict=True) if place < len(turn)]
    most = len(turns)
    return mine + cut[:1] * (most - len(mine))


def collect(found: Mapping[int, T]) -> dict[int, T]:
    """The results of all ranks by index; all ranks must call."""
    return {index: one for each in from_all_ranks(dict(found)) for index, one in each.items()}


def from_all_ranks(value: Any) -> list[Any]:
    """Each rank's value, in order of rank, on every rank."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values
