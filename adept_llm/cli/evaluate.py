"""adept-llm evaluate: metrics of a tuned model on a split."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from adept_llm.cli.parsing import check_output, parse
from adept_llm.cli.tuned import TunedArguments
from adept_llm.data import Example, describe_answers, fingerprint, own_examples
from adept_llm.errors import InputError
from adept_llm.evaluation.answers import write_predictions
from adept_llm.evaluation.measure import measure_answers
from adept_llm.files import write_whole
from adept_llm.packing import PACKINGS
from adept_llm.tasks import Task, get_task, load_split
from adept_llm.tuned import Tuned


@dataclass(frozen=True)
class EvaluateArguments:
    """Which rows.

    Raises:
        InputError: unless exactly one of task and file is given.
    """

    task: str | None = field(default=None, metadata={"help": "a registered benchmark task"})
    data_dir: str | None = field(
        default=None, metadata={"help": "folder with <split>.jsonl or .parquet of the task"}
    )
    split: str | None = field(default=None, metadata={"help": "of the task; default: validation"})
    file: str | None = field(default=None, metadata={"help": "own data, as for --train_file"})
    max_samples: int | None = field(default=None, metadata={"help": "sub-sample, seeded"})
    batch_size: int = field(default=32, metadata={"help": "rows at a time"})
    packing: str = field(
        default="shared_prefix", metadata={"help": "or padded", "choices": PACKINGS}
    )
    seed: int = field(default=42, metadata={"help": "of the sub-sample"})
    allow_code_execution: bool = field(
        default=False, metadata={"help": "let mbpp's metric run the programs of the model"}
    )
    allow_unsandboxed_code: bool = field(
        default=False, metadata={"help": "let them run also where bubblewrap starts no sandbox"}
    )
    output_file: str | None = field(default=None, metadata={"help": "JSON with the metrics"})
    predictions_file: str | None = field(
        default=None, metadata={"help": "JSONL with each row's answer, target and scores"}
    )

    def __post_init__(self) -> None:
        if bool(self.task) == bool(self.file):
            raise InputError("data: give either --task or --file")
        if self.file and self.split:
            raise InputError("split: goes with --task; a file is read whole")
        if self.batch_size < 1:
            raise InputError("batch_size: must be at least 1")
        if self.max_samples is not None and self.max_samples < 1:
            raise InputError(f"max_samples: {self.max_samples} rows; give 1 or more")
        check_output("output_file", self.output_file)
        check_output("predictions_file", self.predictions_file)


def main(argv: Sequence[str]) -> None:
    """Check, load, measure, print.

    Raises:
        InputError: for an adapter or rows that do not fit.
    """
    given, args = parse([TunedArguments, EvaluateArguments], argv)
    tuned = given.open()
    tuned.check_context()
    task = get_task(args.task) if args.task else None
    rows = read(args, task, tuned)
    leave = (args.allow_code_execution, args.allow_unsandboxed_code)
    measure = measure_answers(tuned.encoder, rows, task, args.batch_size, *leave)
    print(f"answers: {describe_answers(measure.examples)}")
    print(f"{measure.report}; data {fingerprint(measure.examples)}")
    batcher = tuned.batcher(args.packing)
    if batcher.why_padded:
        print(f"padding instead of packing: {batcher.why_padded}")
    predictions = measure.predict(tuned.model, batcher)
    metrics = measure.score(predictions)
    for name, value in metrics.items():
        print(f"{name} {value:.4f}")
    if args.predictions_file:
        write_predictions(args.predictions_file, predictions)
    if args.output_file:
        write_whole(Path(args.output_file), (json.dumps(metrics, indent=2) + "\n").encode())


def read(args: EvaluateArguments, task: Task | None, tuned: Tuned) -> list[Example]:
    """The rows; own ones have the training run's labels.

    Raises:
        InputError: for data that is missing or malformed.
    """
    if task:
        reference = tuned.template == "reference"
        split = args.split or "validation"
        return load_split(
            task, split, args.data_dir, args.max_samples, args.seed, reference=reference
        )
    assert args.file is not None
    return own_examples(args.file, tuned.labels, args.max_samples, args.seed)
