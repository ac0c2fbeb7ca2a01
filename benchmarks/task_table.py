r"""Tasks end to end on a small base: tune briefly, measure, and say what the numbers are worth.

    python -m benchmarks.task_table --model DIR --data_dir DIR [--tasks sst2 rte ..] [--output FILE]

`--data_dir` has a folder per task with the hub's own columns (`sst2/train.jsonl`, ..); by default
all tasks that have one are run. Each row of the table: the main metric of the untuned prompt, of
ADePT (20, 39) after a few steps, and of always saying the most frequent training label; then how
many examples were measured, read in windows because their context is long, and dropped. The steps
are few and nothing is searched for: this shows that tasks work, not how good the method is.
"""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers.utils import logging

from adept_llm.adapters import AdeptConfig, inject_adapter
from adept_llm.base.loading import load_model, load_tokenizer
from adept_llm.cli.columns import print_columns
from adept_llm.data import Encoder, fingerprint
from adept_llm.evaluation.answers import AnswerMeasure
from adept_llm.evaluation.predictions import write_predictions
from adept_llm.files import write_whole
from adept_llm.packing import make_batcher
from adept_llm.tasks import get_task, load_split, task_names
from adept_llm.training.arguments import AdeptTrainingArguments
from adept_llm.training.run import run

COLUMNS = (
    "task", "metric", "before", "after", "majority", "trained on", "shortened", "dropped",
    "measured on", "in windows", "dropped", "seconds",
)  # fmt: skip


def main() -> None:
    """Run the tasks one after another and print the table."""
    args = arguments()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    known = [name for name in task_names() if (args.data_dir / name).is_dir()]
    rows = []
    for name in args.tasks or known:
        rows.append(measured(name, args))
        print(json.dumps(rows[-1]), flush=True)
    if args.output:
        write_whole(args.output, (json.dumps(rows, indent=1) + "\n").encode())
    print_columns(COLUMNS, [cells(row) for row in rows])


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--data_dir", type=Path, required=True)
    parser.add_argument("--tasks", nargs="*")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--predictions", type=Path, help="folder for each task's predictions")
    parser.add_argument("--template", default="plain")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--train", type=int, default=1000, help="training rows at most")
    parser.add_argument("--test", type=int, default=150, help="test rows at most")
    parser.add_argument("--max_length", type=int, default=320, help="the task's own if less")
    parser.add_argument("--max_new_tokens", type=int, default=64, help="of a generated answer")
    return parser.parse_args()


def measured(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Tune and measure one task."""
    start = time.perf_counter()
    task = get_task(name)
    task = replace(task, max_new_tokens=min(task.max_new_tokens, args.max_new_tokens))
    max_length = min(task.max_length, args.max_length)
    encoder = Encoder(load_tokenizer(args.model), args.template, max_length)
    train, test = (
        load_split(task, split, args.data_dir / name, limit, reference=args.template == "reference")
        for split, limit in (("train", args.train), ("test", args.test))
    )
    encoded, report = encoder.encode_all(train)
    # the programs of MBPP run in a sandbox; see adept_llm.evaluation.programs
    measure = AnswerMeasure.of_task(encoder, task, test, allow_code_execution=True)
    model = inject_adapter(load_model(args.model), AdeptConfig("adept", 20, 39))
    batcher = make_batcher(model, "shared_prefix", max_length)
    with tempfile.TemporaryDirectory() as folder:
        training = AdeptTrainingArguments(
            output_dir=folder, max_steps=args.steps, per_device_train_batch_size=16,
            warmup_steps=4, save_strategy="no", report_to="none", logging_steps=args.steps,
            disable_tqdm=True, use_cpu=True,
        )  # fmt: skip
        trainer, result = run(model, training, encoded, batcher, measure)
    if args.predictions:
        args.predictions.mkdir(parents=True, exist_ok=True)
        predictions = measure.predict(trainer.model, batcher)
        write_predictions(args.predictions / f"{name}.jsonl", predictions)
    tested = measure.report
    return {
        "task": name, "metric": task.metrics[0], "before": result.before, "after": result.after,
        "majority": measure.baseline(train), "data": [fingerprint(train), fingerprint(test)],
        "trained_on": report.kept, "shortened": report.truncated, "train_dropped": report.dropped,
        "measured_on": tested.kept, "in_windows": tested.truncated, "dropped": tested.dropped,
        "seconds": round(time.perf_counter() - start),
    }  # fmt: skip


def cells(row: dict[str, Any]) -> list[str]:
    """A row of the printed table."""
    numbers = [f"{row[when][row['metric']]:.3f}" for when in ("before", "after", "majority")]
    counts = (
        "trained_on", "shortened", "train_dropped", "measured_on", "in_windows", "dropped",
        "seconds",
    )  # fmt: skip
    return [row["task"], row["metric"], *numbers, *(str(row[key]) for key in counts)]


if __name__ == "__main__":
    main()
