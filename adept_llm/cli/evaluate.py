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
from adept_llm.tasks import Encoder, get_task, label_set, load_split, read_instructions
from adept_llm.training.arguments import PACKINGS
from adept_llm.training.run import LabelledSplit, make_collator


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
    output_file: str | None = field(default=None, metadata={"help": "JSON with the metrics"})

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
    if args.task:
        rows = load_split(get_task(args.task), args.split, args.data_dir, args.max_samples)
        labels = rows[0].labels
    else:
        rows = read_instructions(args.file)[: args.max_samples]
        labels = tuple(trained_with(tuned.adapter).get("labels") or label_set(rows))
        rows = [replace(row, labels=labels) for row in rows]
    if not labels:
        raise InputError(f"{args.file}: its answers are no set of 2 to 20 labels; use generate")
    encoder = Encoder(tuned_tokenizer(tuned, table), tuned.template, tuned.max_length)
    encoded, report = encoder.encode_all(rows)
    print(report)
    model = load_tuned(tuned, table)
    make_collator(model, args.packing, tuned.max_length)
    metrics = LabelledSplit.of(encoder, encoded, labels, args.batch_size)(model)
    for name, value in metrics.items():
        print(f"{name} {value:.4f}")
    if args.output_file:
        write_whole(Path(args.output_file), (json.dumps(metrics, indent=2) + "\n").encode())
