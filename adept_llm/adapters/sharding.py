"""Reading a frozen weight that DeepSpeed ZeRO-3 may have split over the ranks."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


def is_sharded(weight: Tensor) -> bool:
    """Whether each rank holds a slice only (ZeRO-3)."""
    return hasattr(weight, "ds_id")


def full_shape(weight: Tensor) -> torch.Size:
    """The shape of the whole weight, which its slice does not show."""
    return getattr(weight, "ds_shape", weight.shape)


@contextmanager
def gathered(weight: Any) -> Iterator[Tensor]:
    """The whole weight, for reading; afterwards each rank has its slice again.

    All ranks must enter. A forward pass gathers the same table, so this needs no more memory.
    """
    if not is_sharded(weight):
        yield weight.detach()
        return
    # what deepspeed.zero.GatheredParameters calls; adapters know torch alone
    weight.all_gather(param_list=[weight])
    try:
        yield weight.detach()
    finally:
        weight.partition(param_list=[weight], has_been_updated=False)


def root_mean_square(weight: Tensor) -> float:
    """Root mean square of a whole weight's entries.

    Summed in float64, a slab at a time, so that it does not depend on device or dtype of the sums.
    """
    total = sum(slab.double().square().sum().item() for slab in weight.split(4096))
    return (total / weight.numel()) ** 0.5
