"""The last table of a training run."""

from pathlib import Path

from adept_llm.cli.columns import format_columns
from adept_llm.record import LABELS, RunRecord
from adept_llm.training.run import Result


def format_result(record: RunRecord, result: Result, folder: Path) -> str:
    """What was learnt, how well, and at what cost.

    Args:
        record: of the run.
        result: its numbers.
        folder: where it lies.
    """
    rows = [["data", kind_of_data(record)]]
    rows += [[f"{name} before", f"{value:.4f}"] for name, value in result.before.items()]
    rows += [[f"{name} after", f"{value:.4f}"] for name, value in result.after.items()]
    rows += [[f"test {name}", f"{value:.4f}"] for name, value in result.test.items()]
    rows.append(["mean training loss", f"{result.loss:.4f}"])
    if result.last_loss is not None:
        rows.append(["last training loss", f"{result.last_loss:.4f}"])
    rows += [
        ["trained parameters", f"{result.trained_parameters:,}"],
        ["steps", str(result.steps)],
        ["examples/s", f"{result.examples_per_second:.1f}"],
        ["tokens/s", f"{result.tokens_per_second:.0f}"],
        ["peak memory", f"{result.peak_memory_gb:.2f} GB"],
        ["adapter", str(folder)],
    ]
    return format_columns([record.adapter["method"], ""], rows)


def kind_of_data(record: RunRecord) -> str:
    """Labels or free text, and how many rows."""
    data = record.data
    if data.kind != LABELS:
        kind = "free text"
    elif data.labels:
        kind = f"{len(data.labels)} labels"
    else:
        kind = "labels of each row's own"
    return f"{data.train_rows:,} rows, {kind}"
