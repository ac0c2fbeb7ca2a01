"""adept-llm doctor: one line for each thing that a run needs, with a fix where it lacks.

Run it alone, or as the ranks of a run will be: `torchrun --nproc_per_node 8 -m adept_llm.cli.main
doctor ..`, `deepspeed --module adept_llm.cli.main doctor ..`, or under srun.

The exit code is 0 where nothing fails, else 2; notes do not count. A machine without a GPU gets a
note, since small models train on its CPU; a GPU that is there, or given, but unseen by torch fails.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from adept_llm.cli.checks.finding import Finding
from adept_llm.cli.checks.machine import cores, devices, space
from adept_llm.cli.checks.network import hub, interfaces, port
from adept_llm.cli.checks.packages import flash_attention, operators, quantisation, versions
from adept_llm.cli.parsing import parse
from adept_llm.errors import InputError
from adept_llm.training.deepspeed_config import check_deepspeed, zero_stage
from adept_llm.training.launch import adopt_slurm_ranks, leave_together

LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class DoctorArguments:
    """What the run will use."""

    output_dir: str = field(default="runs", metadata={"help": "folder that all ranks write to"})
    deepspeed: str | None = field(default=None, metadata={"help": "DeepSpeed configuration"})
    use_cpu: bool = field(default=False, metadata={"help": "as in train"})
    ranks: int | None = field(
        default=None, metadata={"help": "number of ranks that there should be"}
    )
    model_name_or_path: str | None = field(
        default=None, metadata={"help": "base model of the run: is it there, or given to you"}
    )
    fix_hints: bool = field(
        default=False, metadata={"help": "with the command that does what each line says"}
    )
    local_rank: int = field(default=0, metadata={"help": "set by the deepspeed launcher"})


def main(argv: Sequence[str]) -> None:
    """Print the findings of rank 0, and those of others that fail.

    Raises:
        InputError: if something fails.
    """
    (args,) = parse([DoctorArguments], argv, command="doctor")
    findings = [*versions(), *quantisation(args.use_cpu), *flash_attention()]
    findings += [*operators(args.deepspeed is not None), *devices(args.use_cpu), *cores()]
    findings += [*space(Path(args.output_dir)), *hub(args.model_name_or_path), *interfaces()]
    findings += [*deepspeed_agrees(args.deepspeed), *launcher(args.ranks), *port()]
    joined = join(args.use_cpu)
    findings.append(joined)
    if not joined.fix:
        findings += [*together(Path(args.output_dir), args.use_cpu)]
    rank = dist.get_rank() if dist.is_initialized() else 0
    for finding in findings:
        line = finding.with_hint() if args.fix_hints else str(finding)
        if rank == 0:
            print(line, flush=True)
        elif finding.fails:
            print(f"rank {rank} on {socket.gethostname()}: {line}", flush=True)
    leave_together()
    failed = sum(finding.fails for finding in findings)
    if failed:
        raise InputError(f"doctor: {failed} of {len(findings)} checks failed, see above")


def deepspeed_agrees(path: str | None) -> Iterator[Finding]:
    """The DeepSpeed configuration against what training needs, and the places it names."""
    if path is None:
        return
    try:
        config = check_deepspeed(path)
    except InputError as error:
        yield Finding("DeepSpeed config", "refused", str(error))
        return
    yield Finding("DeepSpeed config", f"{path}, ZeRO-{zero_stage(config)}")
    offload = config.get("zero_optimization", {}).get("offload_param", {})
    if offload.get("device") == "nvme":
        place = Path(offload.get("nvme_path", ""))
        usable = place.is_dir() and os.access(place, os.W_OK)
        fix = "" if usable else f"make the folder, or name another as nvme_path in {path}"
        yield Finding("nvme_path", str(place), fix)
    shards = config.get("zero_optimization", {}).get("zero_hpz_partition_size", 1)
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "0"))
    if shards > 1 and local and shards != local:
        fix = f"write {local}, the ranks of a node, into {path}"
        yield Finding("zero_hpz_partition_size", str(shards), fix)


def launcher(ranks: int | None) -> Iterator[Finding]:
    """The variables that tell a process its rank."""
    try:
        adopt_slurm_ranks()
    except InputError as error:
        yield Finding("launcher", "srun", str(error))
        return
    missing = [name for name in LAUNCHER if name not in os.environ]
    found = int(os.environ.get("WORLD_SIZE", "1"))
    if len(missing) == len(LAUNCHER):
        state = "none, one process"
    elif missing:
        fix = "start it by deepspeed, torchrun, accelerate launch or srun"
        yield Finding("launcher", f"{', '.join(missing)} not set", fix)
        return
    else:
        state = f"{found} ranks, met at {os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    wrong = ranks is not None and ranks != found
    yield Finding("launcher", state, f"{ranks} ranks were asked for" if wrong else "")


def join(use_cpu: bool) -> Finding:
    """Start the process group."""
    if "RANK" not in os.environ or os.environ.get("WORLD_SIZE", "1") == "1":
        return Finding("ranks", "one; start doctor as the run will be started to check several")
    from datetime import timedelta

    gpu = torch.cuda.is_available() and not use_cpu
    try:
        if gpu:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if gpu else "gloo", timeout=timedelta(seconds=60))
    except (RuntimeError, ValueError) as error:
        fix = "look for a firewall, and name the network card by NCCL_SOCKET_IFNAME"
        return Finding("ranks", str(error).splitlines()[0], fix)
    return Finding("ranks", f"{dist.get_world_size()} joined, {'NCCL' if gpu else 'gloo'}")


def together(folder: Path, use_cpu: bool) -> Iterator[Finding]:
    """What needs all ranks: a sum, the same versions, and a folder that all of them see."""
    if not dist.is_initialized():
        yield written_and_seen(folder, lambda value: [value])
        return
    device = "cuda" if torch.cuda.is_available() and not use_cpu else "cpu"
    size = dist.get_world_size()
    ones = torch.ones(1_000_000, device=device)
    start = time.perf_counter()
    dist.all_reduce(ones)
    wrong = "the network corrupts data" if ones.ne(size).any().item() else ""
    yield Finding("collective", f"sum of 4 MB in {time.perf_counter() - start:.3f} s", wrong)

    def gather(value: Any) -> list[Any]:
        values: list[Any] = [None] * size
        dist.all_gather_object(values, value)
        return values

    distinct = sorted(set(gather(f"torch {torch.__version__}")))
    fix = "install the same versions everywhere" if len(distinct) > 1 else ""
    yield Finding("versions on all ranks", ", ".join(distinct), fix)
    yield written_and_seen(folder, gather)


def written_and_seen(folder: Path, gather: Callable[[Any], list[Any]]) -> Finding:
    """Rank 0 writes a file; each rank tells whether it reads the same."""
    name, word, failure = folder / ".doctor", f"{socket.gethostname()} {time.time_ns()}", ""
    rank = dist.get_rank() if dist.is_initialized() else 0
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    if rank == 0:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            name.write_text(word)
        except OSError as error:
            failure = str(error.strerror)
    word, failure = gather((word, failure))[0]
    try:
        seen = name.read_text() == word
    except OSError:
        seen = False
    blind = [i for i, one in enumerate(gather(seen)) if not one]
    if rank == 0:
        with suppress(OSError):  # it may not have been written
            name.unlink()
        for one in made:
            with suppress(OSError):  # it was not made, or holds something by now
                one.rmdir()
    if failure:
        return Finding("output_dir", f"{folder}: {failure}", "name a folder that can be written")
    if blind:
        fix = "put it on a file system that all nodes share"
        return Finding("output_dir", f"{folder}: not seen by ranks {blind}", fix)
    return Finding("output_dir", f"{folder}: written, and seen by all ranks")
