"""DeepSpeed's partitions, its optimizer and its start. Read in DeepSpeed 0.19.8.

DeepSpeed is imported when a function needs it, not with this module.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


def is_sharded(weight: Tensor) -> bool:
    """Whether each rank holds a slice only (ZeRO-3).

    `zero.Init` gives each parameter that it cuts a `ds_id`; if that changes, a slice is taken for
    the whole weight.
    """
    return hasattr(weight, "ds_id")


def full_shape(weight: Tensor) -> torch.Size:
    """The shape of the whole weight, which its slice does not show.

    Kept as `ds_shape`; if that changes, shapes of [0] are compared and saved.
    """
    return getattr(weight, "ds_shape", weight.shape)


@contextmanager
def gathered(weight: Any) -> Iterator[Tensor]:
    """The whole weight, for reading; afterwards each rank has its slice again.

    All ranks must enter. A forward pass gathers the same table, so this needs no more memory.
    `all_gather` and `partition` are what deepspeed.zero.GatheredParameters calls; that one keeps a
    copy of what it gathered.
    """
    if not is_sharded(weight):
        yield weight.detach()
        return
    weight.all_gather(param_list=[weight])
    try:
        yield weight.detach()
    finally:
        weight.partition(param_list=[weight], has_been_updated=False)


def set_whole(parameter: Any, value: Tensor) -> None:
    """Write a whole value into a parameter, or this rank's slice of it; all ranks must call."""
    with torch.no_grad():
        if not is_sharded(parameter):
            parameter.copy_(value)
            return
        import deepspeed

        # every rank has the value, and writes its own slice of it
        with deepspeed.zero.GatheredParameters([parameter], modifier_rank=0):
            parameter.copy_(value)


def bytes_held(parameter: Any) -> int:
    """Bytes of a parameter that this rank holds between steps.

    `ds_tensor` is the slice, `ds_secondary_tensor` the copy within a node (hpZ); if they change,
    tests of what is split count too little.
    """
    tensors = [parameter.data]
    if is_sharded(parameter):
        # what is not in use has a stand-in of one element
        tensors = [parameter.ds_tensor] + tensors * (parameter.data.numel() > 1)
        second = parameter.ds_secondary_tensor
        tensors += [second] * (second is not None)
    return sum(t.numel() * t.element_size() for t in tensors)


def inner_optimizer(engine: Any) -> Any:
    """The torch optimizer under the engine's ZeRO optimizer; its states are keyed by partition."""
    return engine.optimizer.optimizer


def master_of(parameter: Any) -> Tensor | None:
    """The whole fp32 master of a trained parameter, or None; all ranks must call."""
    from deepspeed.utils import safe_get_full_fp32_param

    value = safe_get_full_fp32_param(parameter)
    return None if value is None else value.view(full_shape(parameter))


def set_master(engine: Any, parameter: Any, value: Tensor) -> None:
    """Write the fp32 master of a trained parameter; the module's copy is another."""
    from deepspeed.utils import safe_set_full_fp32_param, safe_set_local_fp32_param

    value = value.to(engine.device, torch.float32)
    if is_sharded(parameter):
        safe_set_local_fp32_param(parameter, _slice(engine, parameter, value))
    else:
        safe_set_full_fp32_param(parameter, value)


def moment_of(parameter: Any, key: str) -> Tensor:
    """A whole moment of a trained parameter, after `link_moments`; all ranks must call."""
    from deepspeed.utils import safe_get_full_optimizer_state

    return safe_get_full_optimizer_state(parameter, key).view(full_shape(parameter))


def set_moment(engine: Any, parameter: Any, key: str, value: Tensor) -> None:
    """Write a whole moment, after `link_moments`."""
    from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

    value = value.to(engine.device, torch.float32)
    if is_sharded(parameter):
        safe_set_local_optimizer_state(parameter, _slice(engine, parameter, value), key)
    else:
        safe_set_full_optimizer_state(parameter, value, key)


def _slice(engine: Any, parameter: Any, value: Tensor) -> Tensor:
    """This rank's slice of a whole value, with zeros behind its end where DeepSpeed pads.

    DeepSpeed's own setters of whole values (`set_full_hp_param` of stage 3) ask for a full slice
    of what is not padded, and fail on the last rank where the ranks do not divide the numbers.
    """
    size = parameter.ds_tensor.numel()
    rank = engine.optimizer._get_param_partition_rank(parameter)
    mine = value.flatten()[size * rank : size * (rank + 1)]
    return torch.cat([mine, mine.new_zeros(size - mine.numel())])


def link_moments(engine: Any) -> None:
    """Make ZeRO-1 and 2 look their moments up again.

    DeepSpeed does so (`_lazy_init_hp_params_optimizer_state`) once, after the first group's first
    step, when the second group has none yet. If the names change, the second group's moments are
    not found, and `moment_of` fails.
    """
    zero = engine.optimizer
    if hasattr(zero, "_hp_optimizer_states_linked"):
        zero._hp_optimizer_states_linked = False
        zero._lazy_init_hp_params_optimizer_state()


def partitions(engine: Any) -> list[tuple[Tensor, dict[str, Any]]]:
    """This rank's flat fp32 partitions (one per group) and the optimizer's state of each.

    `fp32_partitioned_groups_flat` under ZeRO-3, `single_partition_of_fp32_groups` under 1 and 2; if
    they change, checkpoints cannot be written or read.
    """
    zero = engine.optimizer
    flat = getattr(zero, "fp32_partitioned_groups_flat", None)
    if flat is None:
        flat = zero.single_partition_of_fp32_groups
    return [(partition, zero.optimizer.state[partition]) for partition in flat]


def shards_weights() -> bool:
    """Whether models are loaded in slices, because a ZeRO-3 configuration is in force.

    transformers 5.17.0 to 5.23.0 keep it while training arguments with that configuration exist.
    """
    from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

    return is_deepspeed_zero3_enabled()


@contextmanager
def sharded_as(dtype: torch.dtype) -> Iterator[None]:
    """Let DeepSpeed read slices in a dtype.

    It takes the dtype of training, fp32 here, and would upcast a bfloat16 base. transformers hands
    `zero.Init` its global configuration (`deepspeed_config()`), so that is changed meanwhile; if it
    hands over a copy one day, sharded bases are loaded in fp32.
    """
    from transformers.integrations.deepspeed import deepspeed_config

    config = deepspeed_config() if shards_weights() else None
    if config is None or dtype == torch.float32:
        yield
        return
    name = {torch.bfloat16: "bf16", torch.float16: "fp16"}[dtype]
    before = config.get(name)
    config[name] = {"enabled": True}
    try:
        yield
    finally:
        if before is None:
            del config[name]
        else:
            config[name] = before


def start_group_on_cpu() -> None:
    """Start DeepSpeed's process group with gloo, from the launcher's variables.

    Without `deepspeed_shm_comm` in `__compatible_ops__` gloo gives the same sums and that kernel
    need not be compiled first; if the table goes, the start takes a minute or fails without a
    compiler.
    """
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed("gloo", verbose=False)
