"""What a run needs to go on, gathered from all ranks and given back to any number of them.

The optimizer's state is kept by parameter name and in full, not by rank: fp32 masters and moments
are gathered from DeepSpeed's partitions and cut again on loading. So a checkpoint of two ZeRO-3
ranks continues on one process without DeepSpeed, and the other way round.
"""

import io
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adept_llm.adapters.saved import check_shapes
from adept_llm.compat import deepspeed

Named = dict[str, torch.nn.Parameter]
MOMENTS = (
    "exp_avg",
    "exp_avg_sq",
)  # AdamW's, the only ones that DeepSpeed's partitions are read of


def trained_values(parameters: Named, engine: Any = None) -> dict[str, Tensor]:
    """The fp32 masters, whole and on the CPU. Under DeepSpeed all ranks must call.

    Args:
        parameters: name -> trained parameter.
        engine: the DeepSpeed engine, if there is one.
    """
    return {name: _master(p, engine).detach().cpu().contiguous() for name, p in parameters.items()}


def optimizer_state(parameters: Named, optimizer: Any, engine: Any = None) -> dict[str, Tensor]:
    """'name.key' -> tensor of the optimizer's state, whole and on the CPU; all ranks must call."""
    if engine is None:
        return {
            f"{name}.{key}": torch.as_tensor(value).detach().cpu().contiguous()
            for name, parameter in parameters.items()
            for key, value in optimizer.state.get(parameter, {}).items()
        }
    states = [state for _, state in deepspeed.partitions(engine)]
    step = next((state["step"] for state in states if "step" in state), None)
    if step is None:
        return {}
    deepspeed.link_moments(engine)
    found = {}
    for name, parameter in parameters.items():
        if parameter.requires_grad:
            for key in MOMENTS:
                value = deepspeed.moment_of(parameter, key)
                found[f"{name}.{key}"] = value.detach().cpu().contiguous()
            found[f"{name}.step"] = torch.as_tensor(float(step))
    return found


def set_trained_values(
    parameters: Named, values: dict[str, Tensor], source: Any, engine: Any = None
) -> None:
    """Write masters and the module's own copies.

    Raises:
        InputError: if names or shapes differ; nothing is written then.
    """
    wanted = {name: deepspeed.full_shape(parameter) for name, parameter in parameters.items()}
    check_shapes(wanted, values, source)
    for name, parameter in parameters.items():
        deepspeed.set_whole(parameter, values[name])
        if engine is not None and parameter.requires_grad:
            deepspeed.set_master(engine, parameter, values[name])


def set_optimizer_state(
    parameters: Named, optimizer: Any, tensors: dict[str, Tensor], engine: Any = None
) -> None:
    """Inverse of `optimizer_state`."""
    if not tensors:
        return
    by_name: dict[str, dict[str, Tensor]] = {}
    for full_name, tensor in tensors.items():
        name, key = full_name.rsplit(".", 1)
        by_name.setdefault(name, {})[key] = tensor
    if engine is None:
        for name, state in by_name.items():
            parameter = parameters[name]
            optimizer.state[parameter] = {
                key: value.clone() if key == "step" else value.to(parameter.device)
                for key, value in state.items()
            }
        return
    step = next(iter(by_name.values()))["step"]
    for partition, state in deepspeed.partitions(engine):
        # the optimizer makes its state at its first step; make it now
        state.update({key: torch.zeros_like(partition) for key in MOMENTS}, step=step.clone())
    deepspeed.link_moments(engine)
    for name, state in by_name.items():
        for key in MOMENTS:
            deepspeed.set_moment(engine, parameters[name], key, state[key])


def random_state() -> dict[str, Any]:
    """This rank's random number generators, in types that torch.load reads back safely."""
    numpy_state: Any = np.random.get_state()
    _, keys, place, has_gauss, cached = numpy_state
    state = {
        "python": random.getstate(),
        # torch 2.13 pickles uint32 tensors, but cannot read them back
        "numpy": [torch.from_numpy(keys.astype(np.int64)), place, has_gauss, cached],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Inverse of `random_state`."""
    random.setstate(state["python"])
    keys, *rest = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def to_bytes(value: Any) -> bytes:
    """A value as torch.save writes it."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _master(parameter: torch.nn.Parameter, engine: Any) -> Tensor:
    if engine is not None and parameter.requires_grad:
        value = deepspeed.master_of(parameter)
        if value is not None:
            return value
    return parameter
