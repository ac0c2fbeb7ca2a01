"""What a sweep refuses before its first run: arguments that a run of it could not begin with."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from adept_llm.cli.parsing import parse
from adept_llm.cli.train import KINDS, settle
from adept_llm.cli.train_together import Parsed
from adept_llm.errors import InputError
from adept_llm.evaluation.measure import FREE_TEXT_METRICS
from adept_llm.evaluation.metrics import RUNS_CODE
from adept_llm.sweep.plan import Setting, SweepPlan
from adept_llm.sweep.runs import Run
from adept_llm.tasks import get_task
from adept_llm.training.arguments import DataArguments


def check_arguments(plan: SweepPlan) -> list[Parsed]:
    """Refuse what no run of the plan could begin with; what each argument's values come to.

    Raises:
        InputError: as `adept-llm train` does, and for a search without what it chooses by.
    """
    settings = list(settings_of(plan))
    parsed = [parsed_run(plan, setting, plan.final) for setting in settings]
    if plan.is_searched():
        for setting in settings:
            for more in [{"max_steps": steps} for steps in plan.rungs] or [{}]:
                check_chosen_by(plan.metric, parsed_run(plan, setting, more)[2])
    return parsed


def settings_of(plan: SweepPlan) -> Iterator[Setting]:
    """Settings that between them have every value of the plan, and both ends of its ranges."""
    axes = {name: values_of(values) for name, values in plan.search.items()}
    first = {name: values[0] for name, values in axes.items()}
    varied = [
        first | {name: value}
        for name, values in axes.items()
        for value in values
        if value is not None
    ]
    yield from varied or [first]
    yield from (first | dict(one) for one in plan.settings)


def values_of(axis: Any) -> Sequence[Any]:
    """Those of a list, or the ends of a range."""
    return (axis["low"], axis["high"]) if isinstance(axis, Mapping) else axis


def parsed_run(plan: SweepPlan, setting: Setting, more: Mapping[str, Any]) -> Parsed:
    """The arguments of a run.

    Raises:
        InputError: as `adept-llm train` does, also for a warm-up that is longer than the run.
    """
    run = Run.of(plan, setting, plan.search_seeds[0], more, "check")
    parsed = parse(KINDS, run.arguments(), settle)
    args = parsed[3]
    if args.max_steps > 0:  # else it depends on the number of rows
        args.check_warmup(args.max_steps)
    return parsed


def check_chosen_by(metric: str, data: DataArguments) -> None:
    """Refuse a metric that the runs of a search will not measure.

    Raises:
        InputError: naming those that they do, or the split that is missing.
    """
    if not data.task and not data.validation_file:
        raise InputError(
            f"validation_file: the search chooses by {metric} on it; give --validation_file"
        )
    known = metrics_of(data)
    if metric not in known:
        raise InputError(f"metric: {metric!r} is not measured; known: {', '.join(known)}")


def metrics_of(data: DataArguments) -> tuple[str, ...]:
    """Names of what a run measures; of own rows all that it may, whatever their answers are."""
    if not data.task:
        return ("loss", "accuracy", *FREE_TEXT_METRICS)
    metrics = get_task(data.task).metrics
    if not data.allow_code_execution and not RUNS_CODE.isdisjoint(metrics):
        return ("loss",)
    return ("loss", *metrics)
