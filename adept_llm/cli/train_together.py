"""python -m adept_llm.cli.train_together FOLDER ..: runs of a sweep that train at once on one base.

`adept-llm sweep --concurrent` starts it. Each folder holds the arguments of its run, and gets what
`adept-llm train` leaves there, its output included.
"""

import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from adept_llm.base.loading import load_config, load_model
from adept_llm.base.memory import Needs, gib, memory_here, on_gpu
from adept_llm.cli import main as command_line
from adept_llm.cli.before_weights import needs_of, why_padded
from adept_llm.cli.main import quiet
from adept_llm.cli.parsing import parse
from adept_llm.cli.train import KINDS, settle, train
from adept_llm.errors import InputError
from adept_llm.sweep.runs import OUTPUT_FILE, Run
from adept_llm.training.concurrent import FEWER, Company, Member
from adept_llm.training.signals import (
    STOPPED,
    StopOnSignal,
    Stopped,
    ignore_at_exit,
    noted_by_all,
)
from adept_llm.training.turns import Turn, give_back, redirected, take_turns

ALIKE = (
    "gradient_checkpointing", "gradient_checkpointing_kwargs", "use_cpu", "tf32",
    "full_determinism",
)  # fmt: skip
# a run's own dropout draws from its own generator, as no row of several can; what else is one
# process's or one model's would be all runs'
NOT_HERE = {
    "bottleneck_dropout": 0.0, "base_dropout": False, "deepspeed": None, "torch_compile": False,
    "bf16": False, "fp16": False, "use_liger_kernel": False, "neftune_noise_alpha": None,
    "packing": "shared_prefix",
}  # fmt: skip
REPORTERS = {"tensorboard"}
Parsed = tuple[Any, ...]


def main(argv: Sequence[str]) -> int:
    """Train the runs of some folders.

    Returns:
        The exit code of runs that a signal stopped where there is one; else the largest: 0 where
        all have ended well, 2 where one refused, 1 where one broke off.
    """
    runs = [Run.read(Path(folder)) for folder in argv]
    try:
        check_company(parsed_of(runs))
    except InputError as error:
        for run in runs:
            before = redirected(run.folder / OUTPUT_FILE)
            print(f"error: {error}")
            give_back(before)
        return 2
    company, codes = Company(load_model), dict.fromkeys((run.folder for run in runs), 1)
    stops = {run.folder: StopOnSignal(noted_only=True) for run in runs}

    def turn_of(run: Run) -> Turn:
        def work(turn: Turn) -> None:
            codes[run.folder] = exit_code_of(run, stops[run.folder], Member(company, turn))

        told = [str(command_line.__file__), "train", *run.arguments()]
        return Turn(work, run.folder / OUTPUT_FILE, told)

    with noted_by_all(list(stops.values())):
        take_turns([turn_of(run) for run in runs], company.answer)
        ignore_at_exit()
    return STOPPED if STOPPED in codes.values() else max(codes.values())


def exit_code_of(run: Run, stop: StopOnSignal, member: Member) -> int:
    """That of `adept-llm train`; what goes wrong is told in the run's folder, and ends it alone."""
    try:
        stop.check()
        return train(run.arguments(), stop, member)
    except Stopped as signal:
        print(f"stopped by {signal.name} before the first step; nothing is lost", flush=True)
        return STOPPED
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Exception:
        traceback.print_exc()
        return 1


def parsed_of(runs: Sequence[Run]) -> list[Parsed]:
    """Their arguments, but of those that will refuse them by themselves."""
    parsed = []
    for run in runs:
        with suppress(InputError):
            parsed.append(parse(KINDS, run.arguments(), settle))
    return parsed


def check_company(parsed: Sequence[Parsed]) -> None:
    """Refuse runs that cannot train at once, before weights are read.

    Args:
        parsed: arguments of each run, as `KINDS`.

    Raises:
        InputError: naming what they do not share, what no row of several can have, or the memory
            that they need.
    """
    check_alike(parsed)
    several = []
    for base, config, data, args, _ in parsed:
        model_config = load_config(base.model_name_or_path, base.model_revision)
        most, checkpoints = args.tokens_per_batch, bool(args.gradient_checkpointing)
        needs = needs_of(base, config, data, args, model_config, most, checkpoints)
        if needs:
            several.append(needs)
    if several:
        check_memory(several, on_gpu(args.use_cpu))


def check_memory(several: Sequence[Needs], gpu: bool) -> None:
    """Refuse a row of several that the device cannot hold.

    Args:
        several: what each run needs by itself; the weights are there once.
        gpu: which device computes.

    Raises:
        InputError: saying what is needed, what is here and the ways out.
    """
    needed = several[0].weights + sum(one.adapter + one.activations for one in several)
    here, size = memory_here(gpu)
    if needed > size:
        raise InputError(
            f"memory: {len(several)} runs in one row need about {gib(needed)} (weights "
            f"{gib(several[0].weights)}); {here} has {gib(size)}: {FEWER}"
        )


def check_alike(parsed: Sequence[Parsed]) -> None:
    """Refuse arguments by which runs cannot train at once, as `check_company`."""
    for base, config, data, args, _ in parsed:
        for name, value in NOT_HERE.items():
            found = getattr(config if hasattr(config, name) else args, name)
            if found != value and (found or value):
                raise InputError(
                    f"concurrent: runs with --{name} {found} train alone; leave out --concurrent "
                    f"or --{name}"
                )
        for name in set(args.report_to or ()) - REPORTERS:
            raise InputError(
                f"concurrent: {name} takes one run of a process; give --report_to none, or "
                "tensorboard"
            )
        first, _, _, its, _ = parsed[0]
        pairs = [(name, getattr(first, name), getattr(base, name)) for name in vars(first)]
        pairs += [(name, getattr(its, name), getattr(args, name)) for name in ALIKE]
        for name, one, other in pairs:
            if one != other:
                raise InputError(
                    f"concurrent: runs on one base share {name}, and here are {one} and {other}; "
                    "leave out --concurrent, or sweep each by itself"
                )
        model_config = load_config(base.model_name_or_path, base.model_revision)
        if why := why_padded(args, config, model_config, data.max_length):
            raise InputError(f"concurrent: rows would be padded ({why}); leave out --concurrent")


if __name__ == "__main__":
    quiet()
    sys.exit(main(sys.argv[1:]))
