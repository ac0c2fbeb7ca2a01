"""The sweep itself: search, then the chosen setting with several seeds."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from adept_llm.errors import InputError
from adept_llm.files import write_files
from adept_llm.sweep.launchers import Launcher
from adept_llm.sweep.plan import Setting, SweepPlan
from adept_llm.sweep.runs import Run
from adept_llm.sweep.search import Found, search

SWEEP_FILE = "sweep.json"
FINAL = "final"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What a sweep came to.

    Attributes:
        found: The chosen setting.
        searched: Runs of the search, in their order.
        final: Runs of the chosen setting.
    """

    found: Found
    searched: Sequence[Run]
    final: Sequence[Run]


def sweep(plan: SweepPlan, launch: Launcher) -> Outcome:
    """Compute what is missing of a sweep, and sum it up in sweep.json.

    Raises:
        InputError: if a run refuses its arguments, or none of the search comes to an end.
    """
    searched: list[Run] = []

    def measure(settings: Sequence[Setting], steps: int | None) -> list[float]:
        more: Mapping[str, Any] = {} if steps is None else {"max_steps": steps}
        stage = "search" if steps is None else f"search-{steps}"
        runs = [
            [
                replace(Run.of(plan, one, seed, more, stage), metric=plan.metric)
                for seed in plan.search_seeds
            ]
            for one in settings
        ]
        flat = [run for each in runs for run in each]
        compute(flat, launch)
        searched.extend(flat)
        return [fmean(run.value(plan.metric) for run in each) for each in runs]

    found = search(plan, measure)
    if searched and not any(math.isfinite(run.value(plan.metric)) for run in searched):
        raise InputError(
            f"{plan.output_dir}: no run of the search has a finite {plan.metric}; look into "
            f"{searched[0].folder}"
        )
    if found.at_edge:
        log.info(
            "the best setting lies at the edge of %s: a better one may lie beyond",
            ", ".join(found.at_edge),
        )
    final = [Run.of(plan, found.setting, seed, plan.final, FINAL) for seed in plan.seeds]
    compute(final, launch)
    outcome = Outcome(found, searched, final)
    content = json.dumps(summary(plan, outcome), indent=2) + "\n"
    write_files(Path(plan.output_dir), {SWEEP_FILE: content.encode()})
    return outcome


def compute(runs: Sequence[Run], launch: Launcher) -> None:
    """Run those that are not finished. One whose loss diverges has no result, and is a result.

    Raises:
        InputError: by the words of the first that ended in another way, or for a metric that it
            did not measure.
    """
    missing = [run for run in runs if not run.is_finished()]
    if missing:
        log.info("%s: %d of %d runs", missing[0].folder.parent, len(missing), len(runs))
        launch(missing)
    for run in missing:
        if run.failed():
            run.value(run.metric)  # refuses a metric that is not there
            why = run.error() or "ended without a result; the log in that folder may say why"
            raise InputError(f"{run.folder}: {why}")


def summary(plan: SweepPlan, outcome: Outcome) -> dict[str, Any]:
    """The content of sweep.json."""

    def row(run: Run) -> dict[str, Any]:
        return {"folder": str(run.folder), "results": run.results(), "error": run.error()}

    return {
        "plan": asdict(plan),
        "chosen": dict(outcome.found.setting),
        "settings": outcome.found.tried,
        "at_edge": list(outcome.found.at_edge),
        "search": [row(run) for run in outcome.searched],
        "final": [row(run) for run in outcome.final],
    }


def read_chosen(folder: Path) -> Setting:
    """The setting that a sweep in a folder has chosen.

    Raises:
        InputError: for a folder without a finished sweep.
    """
    try:
        chosen: Setting = json.loads((folder / SWEEP_FILE).read_text())["chosen"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder}: holds no finished sweep ({error})") from error
    return chosen
