"""adept-llm evaluate: metrics of tuned models on a split, or what they forgot of plain text.

Started by torchrun, deepspeed or srun, the ranks share the rows.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from adept_llm.cli.parsing import check_output, parse
from adept_llm.cli.tuned import TunedArguments
from adept_llm.data import Example, describe_answers, fingerprint, own_examples
from adept_llm.data.plain_text import encode_texts, read_texts
from adept_llm.errors import InputError
from adept_llm.evaluation.forgetting import forgetting
from adept_llm.evaluation.measure import measure_answers
from adept_llm.evaluation.predictions import Prediction, write_predictions
from adept_llm.files import write_whole
from adept_llm.packing import PACKINGS, Batcher
from adept_llm.tasks import Task, get_task, load_split
from adept_llm.together import Together
from adept_llm.training.launch import join_to_measure, leave_together
from adept_llm.tuned import Tuned

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Measured = tuple[str, dict[str, float]]
"""The name of an adapter and its metrics."""


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
    output_file: str | None = field(
        default=None, metadata={"help": "JSON with the metrics; of several adapters by name"}
    )
    predictions_file: str | None = field(
        default=None,
        metadata={
            "help": "JSONL with each row's answer, target and scores; of several adapters with a "
            "column `adapter`"
        },
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
        read = {"file": self.file, "text_file": self.text_file}
        check_output("output_file", self.output_file, **read)
        check_output(
            "predictions_file", self.predictions_file, **read, output_file=self.output_file
        )


def main(argv: Sequence[str]) -> None:
    """Check, load, measure, print.

    Raises:
        InputError: for an adapter or rows that do not fit.
    """
    given, args = parse([TunedArguments, EvaluateArguments], argv, command="evaluate")
    if join_to_measure():
        evaluate(given, args)
    else:
        with redirect_stdout(None):
            evaluate(given, replace(args, output_file=None, predictions_file=None))
    leave_together()


def evaluate(given: TunedArguments, args: EvaluateArguments) -> None:
    """The same on this rank; several share the rows.

    Raises:
        InputError: for an adapter or rows that do not fit.
    """
    together = given.open()
    together.check_context()
    find = forgotten if args.text_file else answered
    metrics = {}
    for name, measured in find(args, together):
        metrics[name] = measured
        for metric, value in measured.items():
            print(f"{metric} {value:.4f}")
    if args.output_file:
        told = metrics if len(metrics) > 1 else next(iter(metrics.values()))
        write_whole(Path(args.output_file), (json.dumps(told, indent=2) + "\n").encode())


def answered(args: EvaluateArguments, together: Together) -> Iterator[Measured]:
    """The metrics of answers; writes them where that is asked for.

    Raises:
        InputError: for rows that do not fit.
    """
    task = get_task(args.task) if args.task else None
    leave = (args.allow_code_execution, args.allow_unsandboxed_code)
    measures = {}
    for name, tuned in together.runs.items():  # all rows are read before the weights are
        rows = read(args, task, tuned)
        encoder = together.encoder(name)
        measures[name] = measure_answers(encoder, rows, task, args.batch_size, *leave)
    said: dict[str, list[Prediction]] = {}
    for name, measure in measures.items():
        announce(name, together)
        print(f"answers: {describe_answers(measure.examples)}")
        print(f"{measure.report}; data {fingerprint(measure.examples)}")
        with alone(args, together, name) as (model, batcher):
            said[name] = measure.predict(model, batcher)
        yield name, measure.score(said[name])
    if args.predictions_file:
        several = len(said) > 1
        write_predictions(args.predictions_file, said if several else next(iter(said.values())))


def forgotten(args: EvaluateArguments, together: Together) -> Iterator[Measured]:
    """The loss on plain text, with the adapter and without.

    Raises:
        InputError: for texts that are missing or malformed.
    """
    assert args.text_file is not None
    texts = read_texts(args.text_file, args.max_samples, args.seed)
    for name, tuned in together.runs.items():
        announce(name, together)
        encoded = encode_texts(together.tokenizer, texts, tuned.max_length)
        tokens = sum(len(one.target_ids) for one in encoded)
        cut = sum(one.truncated > 0 for one in encoded)
        print(f"{len(encoded)} texts, {tokens:,} tokens predicted; {cut} texts cut")
        with alone(args, together, name) as (model, batcher):
            yield name, forgetting(model, batcher, encoded, args.batch_size)


def announce(name: str, together: Together) -> None:
    """Say whose numbers follow, where there is a choice."""
    if len(together.runs) > 1:
        print(f"{name}:")


@contextmanager
def alone(
    args: EvaluateArguments, together: Together, name: str
) -> Iterator[tuple["PreTrainedModel", Batcher]]:
    """The model with this adapter, and how it reads rows; says so where it cannot pack them."""
    with together.alone(name, args.packing) as (model, batcher):
        if batcher.why_padded:
            print(f"padding instead of packing: {batcher.why_padded}")
        yield model, batcher


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
