"""Runs written by hand, for the tests of the report."""

import json
import math
from pathlib import Path
from typing import Any

from adept_llm.report.groups import Group, Setting, group_runs
from adept_llm.report.runs import Run

GRADUAL = {step: 2.0 * math.exp(-step / 5) for step in range(1, 21)}


def content_of(
    method: str = "adept",
    task: str | None = "sst2",
    seed: int | None = 1,
    rates: tuple[float, float | None] = (0.3, 0.03),
    after: dict[str, float] | None = None,
    base: str = "somewhere/base",
    **changes: Any,
) -> dict[str, Any]:
    """A run.json as `adept-llm train` writes it, with what a report looks at."""
    training = {
        "output_dir": f"runs/{method}-{seed}", "seed": seed, "learning_rate": rates[0],
        "offset_learning_rate": rates[1], "max_steps": 20,
    }  # fmt: skip
    content = {
        "base": {"name_or_path": base, "revision": None, "dtype": "auto", "quantization": "none"},
        "adapter": {"method": method, "num_virtual_tokens": 5, "init_seed": seed},
        "data": {"kind": "labels", "template": "plain", "train_fingerprint": f"{seed!s:0>12}"},
        "arguments": {"model": {}, "data": {"task": task, "k_shot": None}, "training": training},
        "results": {
            "before": {}, "after": {"accuracy": 0.8, "loss": 0.5} if after is None else after,
            "trained_parameters": 1234, "steps": 20, "examples_per_second": 10.0, "seconds": 60.0,
        },
        "version": 1,
    }  # fmt: skip
    return {**content, **changes}


def write_run(
    folder: Path,
    log: dict[int, dict[str, float]] | None = None,
    test: dict[str, float] | None = None,
    predictions: list[dict[str, Any]] | None = None,
    **given: Any,
) -> Path:
    """The folder of a run."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(content_of(**given)))
    if log is not None:
        lines = (json.dumps({"step": step, **entry}) + "\n" for step, entry in log.items())
        (folder / "log.jsonl").write_text("".join(lines))
    if test is not None:
        (folder / "test.json").write_text(json.dumps(test))
    if predictions is not None:
        lines = (json.dumps(row) + "\n" for row in predictions)
        (folder / "predictions.jsonl").write_text("".join(lines))
    return folder


def run_of(
    log: dict[int, dict[str, float]] | None = None,
    test: dict[str, float] | None = None,
    **given: Any,
) -> Run:
    """A run without a folder."""
    return Run(Path("nowhere"), content_of(**given), log or {}, test or {})


def logged(training: dict[int, float], evaluated: dict[int, dict[str, float]]) -> dict[int, Any]:
    """The entries of a log: training losses by step, and metrics by step."""
    found: dict[int, Any] = {step: {"loss": loss} for step, loss in training.items()}
    for step, metrics in evaluated.items():
        prefix = "eval_" if step else "start_"
        found.setdefault(step, {}).update({prefix + name: v for name, v in metrics.items()})
    return dict(sorted(found.items()))


def group_of(*runs: Run) -> Group:
    """Runs that are one group."""
    (group,) = group_runs(runs)
    return group


SETTING = Setting("somewhere/base", "sst2")
