"""What adept_llm uses of DeepSpeed beyond its documented interface."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor


@contextmanager
def gathered(weight: Any) -> Iterator[Tensor]:
    """The whole of a weight, for reading; afterwards each rank has its slice again (ZeRO-3).

    All ranks must enter. A forward pass gathers the same weight, so this needs no more memory.
    A weight that is not split is given as it is.
    """
    if not hasattr(weight, "ds_id"):
        yield weight.detach()
        return
    # what deepspeed.zero.GatheredParameters calls
    weight.all_gather(param_list=[weight])
    try:
        yield weight.detach()
    finally:
        weight.partition(param_list=[weight], has_been_updated=False)
