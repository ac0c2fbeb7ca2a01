"""Wrong predictions of a run: what it said, what was right, and the text where it is at hand."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adept_llm.data import Example, own_examples
from adept_llm.errors import InputError
from adept_llm.evaluation.metrics import METRICS, RUNS_CODE
from adept_llm.evaluation.predictions import PREDICTIONS_FILE
from adept_llm.report.runs import Run, numbers
from adept_llm.tasks import get_task, load_split

# metrics that judge one answer by itself; for all others an answer is wrong that is not the target
SINGLE = ("exact_match", "stated_number", "final_number")


@dataclass(frozen=True)
class Mistake:
    """A wrong prediction.

    Attributes:
        id: Of the row.
        prediction: What was said.
        target: What was right.
        scores: Log-likelihood of each label; empty for free text.
        text: What was asked; '' where the data are not at hand.
    """

    id: str
    prediction: str
    target: str
    scores: Mapping[str, float]
    text: str = ""


@dataclass(frozen=True)
class Mistakes:
    """Of a run.

    Attributes:
        shown: Some of them, spread evenly over the file.
        wrong: How many there are.
        rows: How many rows were predicted.
        why_no_text: Why texts are missing; '' where they are not.
    """

    shown: tuple[Mistake, ...]
    wrong: int
    rows: int
    why_no_text: str = ""


def read_mistakes(run: Run, limit: int) -> Mistakes | None:
    """The wrong predictions of a run; None for one without predictions, or whose rows are programs.

    Args:
        run: The run.
        limit: Most to show.

    Raises:
        InputError: for a file of predictions that is damaged.
    """
    path = run.folder / PREDICTIONS_FILE
    if not path.is_file():
        return None
    metrics = _task_metrics(run)
    if not RUNS_CODE.isdisjoint(metrics):
        return None  # telling right from wrong would run the programs
    # bytes: text would also be split at U+2028, which answers may hold
    lines = enumerate(path.read_bytes().split(b"\n"), 1)
    rows = [row for number, line in lines if (row := _row(f"{path}:{number}", line))]
    wrong = [row for row in rows if not _is_right(row, metrics)]
    step = max(1, len(wrong) // limit)
    some = wrong[::step][:limit]
    texts, why = _texts(run, {str(row["id"]): str(row["target"]) for row in some})
    shown = tuple(
        Mistake(
            str(row["id"]), str(row["prediction"]), str(row["target"]),
            numbers(row.get("scores")), texts.get(str(row["id"]), ""),
        )
        for row in some
    )  # fmt: skip
    return Mistakes(shown, len(wrong), len(rows), why)


def _row(where: str, line: bytes) -> dict[str, Any] | None:
    if not line.strip():
        return None
    try:
        row = json.loads(line.decode())
        if {"id", "prediction", "target"} <= row.keys():
            return dict(row)
    except (ValueError, AttributeError, RecursionError):
        pass
    begin = line[:60].decode(errors="replace")
    raise InputError(
        f"{where}: {begin!r} is no line of predictions; write the file by `adept-llm evaluate "
        "--predictions_file`"
    )


def _task_metrics(run: Run) -> tuple[str, ...]:
    try:
        return get_task(str(run.value("arguments", "data", "task"))).metrics
    except InputError:
        return tuple(run.test) or tuple(run.validation)


def _is_right(row: Mapping[str, Any], metrics: tuple[str, ...]) -> bool:
    said, target = str(row["prediction"]), str(row["target"])
    judge = next((name for name in metrics if name in SINGLE), None)
    if judge is None or row.get("scores") or not target.strip():
        return said == target
    answers = tuple(map(str, row.get("answers") or ()))
    example = Example("", "?", target, id=str(row["id"]), answers=answers)
    return METRICS[judge]([example], [said]) == 1.0


def _texts(run: Run, targets: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """Id -> what was asked, from the data that the run names; and why there is none.

    Args:
        run: The run.
        targets: Id -> what was right, of the rows whose texts are wanted.
    """
    data = run.value("arguments", "data")
    data = data if isinstance(data, dict) else {}
    why = "the run names no data on this machine"
    for split in ("test", "validation"):  # as --do_predict answers them
        try:
            examples = _of_task(run, data, split) or _own(data, f"{split}_file")
            named = [one for one in examples if one.id in targets]
        except InputError as error:
            why = str(error)
            continue
        if any(one.target != targets[one.id] for one in named):
            # another file of that name, or its rows moved: equal labels would agree by chance
            why = "the data that the run names have other rows than those predicted"
        elif named:
            return {one.id: asked(one) for one in named}, ""
    return {}, why if targets else ""


def _of_task(run: Run, data: Mapping[str, Any], split: str) -> list[Example]:
    folder = data.get("data_dir")
    if not data.get("task") or not folder:  # from the hub: a report asks no network
        return []
    reference = run.value("data", "template") == "reference"
    return load_split(get_task(str(data["task"])), split, str(folder), reference=reference)


def _own(data: Mapping[str, Any], name: str) -> list[Example]:
    path = data.get(name)
    return own_examples(str(path), None, None, 0) if path and Path(str(path)).is_file() else []


def asked(example: Example) -> str:
    """An example's question as text."""
    if example.messages:
        return "\n".join(f"{role}: {content}" for role, content in example.messages)
    return "\n".join(filter(None, (example.instruction, example.input)))
