"""Reading the frozen table, which may be split over the ranks: the caller says how to gather it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from torch import Tensor

from adept_llm.adapters.precision import finest_dtype
from adept_llm.errors import InputError

Gather = Callable[[Tensor], AbstractContextManager[Tensor]]
"""Gives the whole of a weight, for reading, as long as the context lasts."""


@contextmanager
def whole(weight: Tensor) -> Iterator[Tensor]:
    """A weight that every rank holds whole.

    Raises:
        InputError: for one that is split over the ranks, of which only a stand-in is here.
    """
    if weight.ndim != 2:
        raise InputError(
            "model: its embedding table is split over the ranks; give "
            "gather=adept_llm.compat.deepspeed.gathered"
        )
    yield weight.detach()


def root_mean_square(weight: Tensor) -> float:
    """Root mean square of a whole weight's entries.

    Summed in float64 where the device has it, a slab at a time, so that it depends on neither
    device nor dtype.
    """
    dtype = finest_dtype(weight.device.type)
    slabs = (weight[i : i + 4096] for i in range(0, len(weight), 4096))
    total = sum(float(slab.to(dtype).square().sum()) for slab in slabs)
    return float((total / weight.numel()) ** 0.5)
