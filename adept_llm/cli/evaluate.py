"""adept-llm evaluate: metrics of a tuned model on a split."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from adept_llm.adapters import read_adapter
from adept_llm.base.loading import check_context
from adept_llm.cli.parsing import check_output, parse
from adept_llm.cli.tuned import (
    TunedArguments,
    base_config,
    load_tuned,
    trained_with,
    tuned_tokenizer,
)
from adept_llm.data import Encoder, fingerprint, own_examples
from adept_llm.errors import InputError
from adept_llm.evaluation.measure import Measure, write_predictions
from adept_llm.files import write_whole
from adept_llm.tasks import get_task, load_split
from adept_llm.training.arguments import PACKINGS
from adept_llm.training.run import make_collator

FREE_TEXT_METRICS = ("exact_match", "token_f1")


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
    split: str = field(default="validation", metadata={"help": "of the task"})
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
    output_file: str | None = field(default=None, metadata={"help": "JSON with the metrics"})
    predictions_file: str | None = field(
        default=None, metadata={"help": "JSONL with each row's answer, target and scores"}
    )

    def __post_init__(self) -> None:
        if bool(self.task) == bool(self.file):
            raise InputError("data: give either --task or --file")
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
    tuned, args = parse([TunedArguments, EvaluateArguments], argv)
    config, table, _ = read_adapter(tuned.adapter)
    check_context(base_config(tuned, table), config.num_virtual_tokens, tuned.max_length)
    encoder = Encoder(tuned_tokenizer(tuned, table), tuned.template, tuned.max_length)
    measure = make_measure(args, encoder, trained_with(tuned.adapter).get("labels"))
    print(f"{measure.report}; data {fingerprint(measure.examples)}")
    model = load_tuned(tuned, table, tuned.quantization)
    # lets the model read packed rows
    _, reason = make_collator(model, args.packing, tuned.max_length)
    if reason:
        print(f"padding instead of packing: {reason}")
    predictions = measure.predict(model)
    metrics = measure.score(predictions)
    for name, value in metrics.items():
        print(f"{name} {value:.4f}")
    if args.predictions_file:
        write_predictions(args.predictions_file, predictions)
    if args.output_file:
        write_whole(Path(args.output_file), (json.dumps(metrics, indent=2) + "\n").encode())


def make_measure(
    args: EvaluateArguments, encoder: Encoder, labels: Sequence[str] | None
) -> Measure:
    """Rows and their metrics; labels are the training run's, None where it left no record.

    Raises:
        InputError: for data that is missing or malformed.
    """
    if args.task:
        task, reference = get_task(args.task), encoder.template == "reference"
        rows = load_split(
            task, args.split, args.data_dir, args.max_samples, args.seed, reference=reference
        )
        return Measure.of_task(encoder, task, rows, args.batch_size, args.allow_code_execution)
    assert args.file is not None
    rows = own_examples(args.file, labels, args.max_samples, args.seed)
    metrics = ("accuracy",) if rows[0].labels else FREE_TEXT_METRICS
    return Measure.of(encoder, rows, metrics, batch_size=args.batch_size)
