"""adept-llm evaluate: metrics of a tuned model on a split, or what it forgot of plain text."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from adept_llm.cli.parsing import check_output, parse
from adept_llm.cli.tuned import TunedArguments
from adept_llm.data import Example, describe_answers, fingerprint, own_examples
from adept_llm.data.plain_text import encode_texts, read_texts
from adept_llm.errors import InputError
from adept_llm.evaluation.answers import write_predictions
from adept_llm.evaluation.forgetting import forgetting
from adept_llm.evaluation.measure import measure_answers
from adept_llm.files import write_whole
from adept_llm.packing import PACKINGS, Batcher
from adept_llm.tasks import Task, get_task, load_split
from adept_llm.tuned import Tuned


@dataclass(frozen=True)
class EvaluateArguments:
    """Which rows.

    Raises:
        InputError: unless exactly one of task, file and text_file is given.
    """

    task: str | None = field(default=None, metadata={"help": "a registered benchmark task"})
    data_dir: str | None = field(
        default=None, metadata={"help": "folder with <split>.jsonl or .parquet of the task"}
    )
    split: str | None = field(default=None, metadata={"help": "of the task; default: validation"})
    file: str | None = field(default=None, metadata={"help": "own data, as for --train_file"})
    text_file: str | None = field(
        default=None,
        metadata={
            "help": "plain text in a column `text`: its loss per token with and without the "
            "adapter; each text is cut to --max_length tokens"
        },
    )
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
        if sum(map(bool, (self.task, self.file, self.text_file))) != 1:
            raise InputError("data: give either --task or --file or --text_file")
        if self.split and not self.task:
            raise InputError("split: goes with --task; a file is read whole")
        if self.text_file and self.predictions_file:
            raise InputError("predictions_file: plain text has no answers; leave it out")
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
    given, args = parse([TunedArguments, EvaluateArguments], argv, command="evaluate")
    tuned = given.open()
    tuned.check_context()
    metrics = forgotten(args, tuned) if args.text_file else answered(args, tuned)
    for name, value in metrics.items():
        print(f"{name} {value:.4f}")
    if args.output_file:
        write_whole(Path(args.output_file), (json.dumps(metrics, indent=2) + "\n").encode())


def answered(args: EvaluateArguments, tuned: Tuned) -> dict[str, float]:
    """The metrics of answers; writes them where that is asked for.

    Raises:
        InputError: for rows that do not fit.
    """
    task = get_task(args.task) if args.task else None
    rows = read(args, task, tuned)
    leave = (args.allow_code_execution, args.allow_unsandboxed_code)
    measure = measure_answers(tuned.encoder, rows, task, args.batch_size, *leave)
    print(f"answers: {describe_answers(measure.examples)}")
    print(f"{measure.report}; data {fingerprint(measure.examples)}")
    batcher = batcher_of(args, tuned)
    predictions = measure.predict(tuned.model, batcher)
    metrics = measure.score(predictions)
    if args.predictions_file:
        write_predictions(args.predictions_file, predictions)
    return metrics


def forgotten(args: EvaluateArguments, tuned: Tuned) -> dict[str, float]:
    """The loss on plain text, with the adapter and without.

    Raises:
        InputError: for texts that are missing or malformed.
    """
    assert args.text_file is not None
    texts = read_texts(args.text_file, args.max_samples, args.seed)
    encoded = encode_texts(tuned.tokenizer, texts, tuned.max_length)
    tokens = sum(len(one.target_ids) for one in encoded)
    cut = sum(one.truncated > 0 for one in encoded)
    print(f"{len(encoded)} texts, {tokens:,} tokens predicted; {cut} texts cut")
    return forgetting(tuned.model, batcher_of(args, tuned), encoded, args.batch_size)


def batcher_of(args: EvaluateArguments, tuned: Tuned) -> Batcher:
    """How the model reads rows; says so where it cannot pack them."""
    batcher = tuned.batcher(args.packing)
    if batcher.why_padded:
        print(f"padding instead of packing: {batcher.why_padded}")
    return batcher


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
