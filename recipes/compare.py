r"""Compare methods on one frozen base: rates by validation loss, then several seeds, then a page.

    python recipes/compare.py --model_name_or_path DIR --tasks sst2 rte --data_dir DATA \
        --output_dir runs/compare

Each method gets the same number of settings, walked from a middle to ever better neighbours so that
none is chosen at an edge unseen, and the same number of steps. On SmolLM2-135M the sizes keep to
one budget of 100 d trained numbers (d: the base's width), but for `table` and `full`. On other
bases two may not: `lora` grows with the depth and the heads (1.3 times the budget on Llama-2 7B),
`embedding_lora` with the vocabulary (4.2 times on Gemma 3 270M); adapt `METHODS` then. The test
split is answered by the chosen settings alone. The command may be stopped at any time, and goes on
when it is given again.
"""

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from adept_llm.cli.main import quiet, told
from adept_llm.cli.parsing import parse
from adept_llm.cli.report import main as report
from adept_llm.cli.sweep import format_outcome, launcher
from adept_llm.errors import InputError
from adept_llm.report.figures import check_matplotlib
from adept_llm.sweep.plan import SweepPlan
from adept_llm.sweep.sweep import read_chosen, sweep
from adept_llm.tasks import get_task

BASELINE = str(Path(__file__).with_name("baseline.py"))


@dataclass(frozen=True)
class Compared:
    """A method with its sizes, and where its walk over the rates begins.

    Attributes:
        arguments: Method and sizes.
        search: Axes of the walk; empty where nothing is trained.
        program: What trains it.
        seeds: How many at most.
    """

    arguments: Mapping[str, Any]
    search: Mapping[str, Sequence[float]] = field(default_factory=dict)
    program: str = "train"
    seeds: int = 100


def adapter(method: str, sizes: Mapping[str, int], **search: Sequence[float]) -> Compared:
    """A method of this package."""
    return Compared({"method": method, **sizes}, search)


def baseline(method: str, *rates: float, seeds: int = 100) -> Compared:
    """A method of recipes/baseline.py."""
    search = {"learning_rate": rates} if rates else {}
    return Compared({"method": method}, search, BASELINE, seeds)


PROMPT_RATES = (0.03, 0.1, 0.3)
METHODS = {
    "adept": adapter(
        "adept", {"num_virtual_tokens": 20, "bottleneck_size": 39},
        learning_rate=PROMPT_RATES, offset_learning_rate=(0.001, 0.003, 0.01),
    ),
    "prompt_tuning": adapter(
        "prompt_tuning", {"num_virtual_tokens": 100}, learning_rate=PROMPT_RATES
    ),
    "dept": adapter(
        "dept", {"num_virtual_tokens": 60, "bottleneck_size": 19},
        learning_rate=PROMPT_RATES, offset_learning_rate=(0.003, 0.01, 0.03),
    ),
    "lora": baseline("lora", 0.001, 0.003, 0.01),
    "embedding_lora": adapter(
        "embedding_lora", {"num_virtual_tokens": 10, "bottleneck_size": 1},
        learning_rate=PROMPT_RATES, offset_learning_rate=(0.001, 0.003, 0.01),
    ),
    "dpt": adapter(
        "dpt", {"num_virtual_tokens": 100, "prompt_rank": 10}, learning_rate=(0.003, 0.01, 0.03)
    ),
    "superpos": adapter(
        "superpos", {"num_virtual_tokens": 100, "prompt_rank": 128},
        learning_rate=(0.003, 0.01, 0.03),
    ),
    "ulpt": adapter(
        "ulpt", {"num_virtual_tokens": 100, "prompt_rank": 2}, learning_rate=PROMPT_RATES
    ),
    "zero_shot": baseline("zero_shot", seeds=1),
    "few_shot": baseline("few_shot"),
    "table": baseline("table", 0.0003, 0.001, 0.003),
    "full": baseline("full", 0.00001, 0.00003, 0.0001),
}  # fmt: skip


@dataclass(frozen=True)
class CompareArguments:
    """What is compared.

    Raises:
        InputError: for an unknown method.
    """

    model_name_or_path: str = field(metadata={"help": "hub name or folder of the base model"})
    output_dir: str = field(metadata={"help": "folder of all runs, and of the page"})
    tasks: list[str] = field(metadata={"help": "registered benchmark tasks"})
    data_dir: str | None = field(
        default=None, metadata={"help": "folder with a folder for each task; default: the hub"}
    )
    methods: list[str] = field(
        default_factory=lambda: list(METHODS), metadata={"help": ", ".join(METHODS)}
    )
    rates_of: str | None = field(
        default=None, metadata={"help": "a task compared before, whose rates are taken"}
    )
    dtype: str = field(default="bfloat16", metadata={"help": "of the frozen weights"})
    settings: int = field(default=8, metadata={"help": "tried for each method"})
    search_steps: int = field(default=60, metadata={"help": "of a run of the search"})
    steps: int = field(default=160, metadata={"help": "of a final run"})
    batch_size: int = field(default=16, metadata={"help": "examples in a step"})
    max_validation_samples: int = field(default=200, metadata={"help": "rows to choose by"})
    seeds: list[int] = field(
        default_factory=lambda: [1, 2, 3], metadata={"help": "of the final runs"}
    )
    parallel: int | None = field(default=None, metadata={"help": "runs side by side"})
    concurrent: int | None = field(
        default=None, metadata={"help": "runs of an adapter that train at once on one base"}
    )

    def __post_init__(self) -> None:
        for name in self.methods:
            if name not in METHODS:
                raise InputError(f"methods: {name!r} is unknown; known: {', '.join(METHODS)}")
        for task in self.tasks:
            get_task(task)


def main(argv: Sequence[str]) -> None:
    """Sweep each method on each task, and write the page."""
    (args,) = parse([CompareArguments], argv)
    check_matplotlib()  # rather now than behind hours of runs
    launch = launcher(args.parallel, None, args.concurrent)
    for task in args.tasks:
        for name in args.methods:
            print(f"\n{task}: {name}", flush=True)
            plan = plan_of(args, task, name)
            print(format_outcome(plan, sweep(plan, launch)), flush=True)
    report([args.output_dir, "--output", str(Path(args.output_dir) / "page.html")])


def plan_of(args: CompareArguments, task: str, name: str) -> SweepPlan:
    """How one method's rates are found and its final runs are made."""
    compared, folder = METHODS[name], Path(args.output_dir)
    arguments = {
        "model_name_or_path": args.model_name_or_path,
        "dtype": args.dtype,
        "task": task,
        "data_dir": str(Path(args.data_dir) / task) if args.data_dir else None,
        "max_steps": args.steps,
        "max_validation_samples": args.max_validation_samples,
        "per_device_train_batch_size": args.batch_size,
        "save_strategy": "no",
        "report_to": "none",
        **compared.arguments,
    }
    final = {"do_predict": True, "eval_strategy": "steps", "eval_steps": max(1, args.steps // 6)}
    plan = SweepPlan(
        output_dir=str(folder / task / name),
        search=compared.search,
        arguments=arguments,
        program=compared.program,
        strategy="neighbours",
        max_settings=args.settings,
        rungs=(args.search_steps,),
        seeds=tuple(args.seeds)[: compared.seeds],
        final=final,
    )
    if args.rates_of not in (None, task) and compared.search:
        chosen = read_chosen(folder / args.rates_of / name)
        plan = replace(plan, search={rate: [value] for rate, value in chosen.items()})
    return plan


if __name__ == "__main__":
    quiet()
    logging.getLogger("adept_llm").setLevel(logging.INFO)
    sys.exit(told(lambda: main(sys.argv[1:])))
