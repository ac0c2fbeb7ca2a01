"""One process among many: started by deepspeed, torchrun, accelerate or srun."""

import os
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import torch
import torch.distributed as dist

from adept_llm.compat.deepspeed import start_group_on_cpu
from adept_llm.errors import InputError
from adept_llm.training.deepspeed_config import check_deepspeed


def adopt_slurm_ranks(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give `srun python ..` the variables that torchrun would have set.

    Nothing is done where a launcher has set them, or outside of a job step of several tasks.

    Args:
        environment: os.environ, which is then updated; another mapping for a dry run.

    Returns:
        What was set.

    Raises:
        InputError: if the address of the first node is not given.
    """
    env = os.environ if environment is None else environment
    # SLURM_STEP_NUM_TASKS, unlike SLURM_NTASKS, is not set in the batch script itself
    if "RANK" in env or int(env.get("SLURM_STEP_NUM_TASKS", "1")) < 2:
        return {}
    if "MASTER_ADDR" not in env:
        raise InputError(
            "MASTER_ADDR: not set, so the ranks of srun cannot meet; set it as slurm/train.sbatch "
            "does, to the first line of: scontrol show hostnames $SLURM_JOB_NODELIST"
        )
    found = {
        "RANK": env["SLURM_PROCID"],
        "LOCAL_RANK": env["SLURM_LOCALID"],
        "WORLD_SIZE": env["SLURM_STEP_NUM_TASKS"],
        "LOCAL_WORLD_SIZE": env.get("SLURM_STEP_TASKS_PER_NODE", "1").split("(")[0].split(",")[0],
        "MASTER_PORT": env.get("MASTER_PORT", "29500"),
    }
    if env is os.environ:
        os.environ.update(found)
    return found


def join_ranks(deepspeed: str | dict[str, Any] | None, use_cpu: bool) -> bool:
    """Start DeepSpeed's process group on a machine without GPUs; nothing is started elsewhere.

    To be called before training arguments are made: Trainer looks for ranks there, and would take
    such a run for a single process. It also does where there is no GPU and nobody asks for the CPU.

    Args:
        deepspeed: the configuration, as training arguments take it.
        use_cpu: whether the user asks for the CPU by name.

    Returns:
        What `use_cpu` of the training arguments must be.

    Raises:
        InputError: for a configuration that cannot work.
    """
    if not deepspeed:
        ranks = int(os.environ.get("WORLD_SIZE", "1"))
        return use_cpu or (ranks > 1 and not torch.accelerator.is_available())
    check_deepspeed(deepspeed)
    if not use_cpu and torch.cuda.is_available():
        return False
    if not dist.is_initialized():
        if "RANK" not in os.environ:
            os.environ.update(alone())
        start_group_on_cpu()
    return True


def join_to_measure() -> bool:
    """Let the ranks of a launcher meet for work without training; nothing is done for one process.

    Returns:
        Whether this is the rank that tells and writes.

    Raises:
        InputError: as `adopt_slurm_ranks`.
    """
    adopt_slurm_ranks()
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return True
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo")
    return dist.get_rank() == 0


def alone() -> dict[str, str]:
    """Launcher variables of a single process; without them DeepSpeed looks for MPI."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    return {**ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def leave_together() -> None:
    """Wait for all ranks and close the process group; else one may abort as another leaves."""
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def leave_at_once(code: int) -> NoReturn:
    """End this rank of several, whatever the others do: their launcher ends them."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def agreed(act: Callable[[], Any]) -> Any:
    """Let rank 0 act and all ranks have its result, or its InputError; nobody runs ahead.

    Raises:
        InputError: what rank 0 raised, on all ranks.
    """
    outcome: list[Any] = [None, None]
    if not dist.is_initialized() or dist.get_rank() == 0:
        try:
            outcome[0] = act()
        except InputError as error:
            outcome[1] = str(error)
    if dist.is_initialized():
        dist.broadcast_object_list(outcome, src=0)
    if outcome[1] is not None:
        raise InputError(outcome[1])
    return outcome[0]
