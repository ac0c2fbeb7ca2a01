"""What the machine has: GPUs, memory, disks, cores for each rank."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.distributed as dist

from adept_llm.base.memory import gib
from adept_llm.cli.checks.finding import Finding
from adept_llm.cli.checks.packages import why_no_gpu

ROOM, FULL = 10 * 2**30, 2**30
ENOUGH = 2  # cores of a rank: one computes, one reads


def devices(use_cpu: bool) -> Iterator[Finding]:
    """GPUs and their free memory, or why there are none."""
    if use_cpu:
        yield Finding("device", f"CPU, {os.cpu_count()} cores, as asked")
    elif not torch.cuda.is_available():
        state = f"no GPU that torch {torch.__version__} sees, {os.cpu_count()} CPU cores"
        if gpu_is_meant():
            fix, hint = why_no_gpu()
            yield Finding("device", state, f"{fix}, or give --use_cpu true", hint=hint)
        else:
            fix = "enough for small models; --use_cpu true says that this is meant"
            yield Finding("device", state, fix, note=True)
    else:
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            busy = free < 0.9 * total
            fix = "another process holds memory there, see nvidia-smi" if busy else ""
            name = torch.cuda.get_device_name(index)
            yield Finding(f"GPU {index}", f"{name}, {gib(free)} of {gib(total)} free", fix, True)
        if not torch.cuda.is_bf16_supported():
            yield Finding("bfloat16", "not on this GPU", "give --dtype float32", note=True)
    backends = [name for name in ("gloo", "nccl", "mpi") if is_backend(name)]
    lacks = not use_cpu and torch.cuda.is_available() and "nccl" not in backends
    yield Finding("backends", ", ".join(backends), "install torch with NCCL" if lacks else "")


def gpu_is_meant() -> bool:
    """Whether this machine has a GPU, or its user or scheduler gives one, whatever torch sees."""
    named = (os.environ.get(name, "") for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_GPUS"))
    return any(one not in ("", "-1") for one in named) or shutil.which("nvidia-smi") is not None


def is_backend(name: str) -> bool:
    """Whether torch was built with a backend of collectives."""
    return dist.is_available() and bool(getattr(dist, f"is_{name}_available")())


def space(folder: Path) -> Iterator[Finding]:
    """Free memory of the host, and disk under the run's folder and under the hub's cache."""
    import psutil
    from huggingface_hub import constants

    free = psutil.virtual_memory().available
    fix = "close other processes" if free < ROOM else ""
    yield Finding("host memory", f"{gib(free)} free", fix, note=True)
    cache = Path(constants.HF_HUB_CACHE)
    for name, path, hint in (
        ("disk of output_dir", folder, "df -h"),
        ("disk of the hub's cache", cache, "hf cache prune   # or export HF_HOME=/a/larger/disk"),
    ):
        there = next(p for p in [path.absolute(), *path.absolute().parents] if p.exists())
        free = shutil.disk_usage(there).free
        fix = f"make room under {there}" if free < ROOM else ""
        yield Finding(name, f"{gib(free)} free", fix, note=free >= FULL, hint=hint)


def cores() -> Iterator[Finding]:
    """Cores that a rank of a Slurm job may use."""
    if "SLURM_JOB_ID" not in os.environ:
        return
    here = len(os.sched_getaffinity(0))
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) < 2:
        # ranks that torchrun starts share the cores of their one task; srun gives each its own
        here //= max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    if here >= ENOUGH:
        yield Finding("cores of a rank", str(here))
        return
    fix = "srun does not take --cpus-per-task over from sbatch: give it to srun too"
    hint = "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK   # in front of srun"
    yield Finding("cores of a rank", str(here), fix, note=True, hint=hint)
