"""adept-llm evaluate: metrics of a tuned model on a split."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from adept_llm.adapters import read_adapter
from adept_llm.adapters.storage import write_whole
from adept_llm.backbone import check_context
from adept_llm.cli.parsing import parse
from adept_llm.cli.tuned import (
    TunedArguments,
    base_config,
    load_tuned,
    trained_with,
    tuned_tokenizer,
)
from adept_llm.errors import InputError
from adept_llm.evaluation.measure import Measure, write_predictions
from adept_llm.tasks import (
    Encoder,
    fingerprint,
    get_task,
    label_set,
    load_split,
    read_instructions,
)
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


def main(argv: Sequence[str]) -> None:
    """Check, load, measure, print.

    Raises:
        InputError: for an adapter or rows that do not fit.
    """
    tuned, args = parse([TunedArguments, EvaluateArguments], argv)
    config, table, _ = read_adapter(tuned.adapter)
    check_context(base_config(tuned, table), config.num_virtual_tokens, tuned.max_length)
    encoder = Encoder(tuned_tokenizer(tuned, table), tuned.template, tuned.max_length)
    measure = make_measure(args, encoder, tuple(trained_with(tuned.adapter).get("labels", ())))
    print(f"{measure.report}; data {fingerprint(measure.examples)}")
    model = load_tuned(tuned, table, tuned.quantization)
    make_collator(model, args.packing, tuned.max_length)  # lets the model read packed rows
    predictions = measure.predict(model)
    metrics = measure.score(predictions)
    for name, value in metrics.items():
        print(f"{name} {value:.4f}")
    if args.predictions_file:
        write_predictions(args.predictions_file, predictions)
    if args.output_file:
        write_whole(Path(args.output_file), (json.dumps(metrics, indent=2) + "\n").encode())


def make_measure(args: EvaluateArguments, encoder: Encoder, labels: tuple[str, ...]) -> Measure:
    """Rows and their metrics.

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
    rows = read_instructions(args.file)[: args.max_samples]
    labels = labels or label_set(rows)
    if labels:
        rows = [replace(row, labels=labels) for row in rows]
    metrics = ("accuracy",) if labels else FREE_TEXT_METRICS
    return Measure.of(encoder, rows, metrics, batch_size=args.batch_size)
