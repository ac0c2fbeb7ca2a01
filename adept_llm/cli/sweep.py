"""adept-llm sweep: search over arguments, and the chosen setting with several seeds.

    adept-llm sweep recipes/sweep_rates.yaml --output_dir runs/rates [arguments of every run]

Its file is described in docs/sweep.md. It may be stopped at any time: the same command goes on.
"""

import os
import shlex
import statistics
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from adept_llm.cli.argument_files import read_mapping
from adept_llm.cli.columns import format_columns
from adept_llm.cli.parsing import check_writable
from adept_llm.cli.plain_parser import PlainParser
from adept_llm.cli.sweep_arguments import check_arguments
from adept_llm.cli.train_together import check_alike
from adept_llm.errors import InputError
from adept_llm.sweep.launchers import Launcher, LocalLauncher, SlurmLauncher
from adept_llm.sweep.plan import SweepPlan
from adept_llm.sweep.runs import Run
from adept_llm.sweep.sweep import Outcome, sweep


def main(argv: Sequence[str]) -> None:
    """Read, check every setting, compute what is missing, print.

    Raises:
        InputError: for a plan or an argument that cannot work; nothing is computed then.
    """
    parser = PlainParser("sweep")
    parser.add_argument(
        "file", metavar="FILE", type=Path, help="a YAML file: search, arguments, seeds, .."
    )
    parser.add_argument("--output_dir", help="folder of the runs")
    parser.add_argument("--parallel", type=int, help="runs side by side; default: one a GPU, or 1")
    parser.add_argument(
        "--concurrent", type=int, metavar="K", help="runs that train at once on one base"
    )
    parser.add_argument("--slurm", metavar="OPTIONS", help="as arrays; '--gres=gpu:1 --time=60'")
    given, words = parser.parse_known_args(argv)
    plan = read_plan(given.file, given.output_dir, words)
    check_writable(plan.output_dir)
    launch = launcher(given.parallel, given.slurm, given.concurrent)
    concurrent = (given.concurrent or 1) > 1
    if plan.program == "train" and "deepspeed" not in plan.arguments:  # which needs ranks
        parsed = check_arguments(plan)
        if concurrent:
            check_alike(parsed)
    elif concurrent:
        raise InputError("concurrent: goes with 'program: train', and without deepspeed")
    print(format_outcome(plan, sweep(plan, launch)))


def read_plan(file: Path, output_dir: str | None, words: Sequence[str]) -> SweepPlan:
    """The plan in a file, with another folder and further arguments of every run.

    Raises:
        InputError: for a name that it does not know.
    """
    content = read_mapping(file)
    known = [field.name for field in fields(SweepPlan)]
    for name in content:
        if name not in known:
            raise InputError(f"{file}: {name!r} is unknown; known: {', '.join(known)}")
    if output_dir:
        content["output_dir"] = output_dir
    if not content.get("output_dir"):
        raise InputError(f"{file}: output_dir is missing")
    if not content.get("search") and not content.get("settings"):
        raise InputError(f"{file}: search is missing, or settings")
    arguments = content.get("arguments") or {}
    if not isinstance(arguments, dict):
        raise InputError(f"{file}: arguments: expected lines 'argument: value'")
    return SweepPlan(**content | {"arguments": arguments | to_mapping(words)})


def to_mapping(words: Sequence[str]) -> dict[str, Any]:
    """Words of a command line as a mapping.

    Raises:
        InputError: for a word that belongs to no argument.
    """
    found: dict[str, Any] = {}
    name = None
    for word in words:
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            found[name] = [value] if value else []
        elif name is None:
            raise InputError(f"arguments: {word!r} belongs to no argument; they are --name value")
        else:
            found[name].append(word)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def launcher(parallel: int | None, slurm: str | None, concurrent: int | None = None) -> Launcher:
    """Where the runs are computed: GPUs are dealt out, several runs to one where they must.

    Raises:
        InputError: for choices that exclude each other.
    """
    if concurrent is not None and concurrent < 1:
        raise InputError(f"concurrent: {concurrent} trains none; give 2 or more")
    if slurm is not None:
        if concurrent is not None:
            raise InputError("concurrent: an array has a task for each run; leave it out")
        if parallel is not None:
            raise InputError("parallel: Slurm decides how many run; leave it out")
        try:
            return SlurmLauncher(tuple(shlex.split(slurm)))
        except ValueError as error:
            raise InputError(f"slurm: a quotation is not closed in {slurm} ({error})") from error
    if parallel is not None and parallel < 1:
        raise InputError(f"parallel: {parallel} runs none; give 1 or more")
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = shown.split(",") if shown else [str(n) for n in range(torch.cuda.device_count())]
    places = parallel or len(gpus) or 1
    devices = tuple(gpus[n % len(gpus)] if gpus else "" for n in range(places))
    return LocalLauncher(devices, concurrent or 1)


def format_outcome(plan: SweepPlan, outcome: Outcome) -> str:
    """All runs of the search by their setting, and the final ones in sum."""
    lines = [search_table(plan, outcome)] if outcome.searched else []
    if outcome.found.setting:
        chosen = ", ".join(f"{name} {value}" for name, value in outcome.found.setting.items())
        lines += [f"chosen of {outcome.found.tried} settings by {plan.metric}: {chosen}"]
    for group, where in (("after", "validation"), ("test", "test")):
        for name, values in final_numbers(outcome, group).items():
            spread = f" +- {statistics.stdev(values):.4f}" if len(values) > 1 else ""
            seeds = f"{len(values)} seed{'s' if len(values) > 1 else ''}"
            lines.append(f"{where} {name}: {statistics.mean(values):.4f}{spread}, {seeds}")
    return "\n".join(lines)


def search_table(plan: SweepPlan, outcome: Outcome) -> str:
    """A line for each run of the search, those marked by which the setting was chosen."""
    finished = filter(None, (run.results() for run in outcome.searched))
    names = list(next(finished)["after"])
    chosen = [Run.of(plan, outcome.found.setting, seed, {}, "") for seed in plan.search_seeds]
    last = outcome.searched[-1].folder.parent
    marked = {last / run.folder.name for run in chosen}
    rows = []
    for run in outcome.searched:
        results = run.results()
        numbers = [f"{results['after'][name]:.4f}" for name in names] if results else []
        mark = "*" if run.folder in marked else ""
        cells = [*(numbers or ["failed"]), mark]
        name = f"{run.folder.parent.name}/{run.folder.name}"
        rows.append([name, *cells, *[""] * (len(names) + 1 - len(cells))])
    return format_columns(["run", *names, ""], rows)


def final_numbers(outcome: Outcome, group: str) -> dict[str, list[float]]:
    """Metric -> its values over the seeds that came to an end."""
    found: dict[str, list[float]] = {}
    for run in outcome.final:
        for name, value in ((run.results() or {}).get(group) or {}).items():
            found.setdefault(name, []).append(value)
    return found
