"""adept-llm generate: answers of a tuned model.

Each row of a file gets one line, with an answer or with the error why there is none. The exit code
is 0 where all rows were answered, 1 where some were not, 2 where nothing was done.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from adept_llm.cli.parsing import check_output, parse
from adept_llm.cli.tuned import TunedArguments
from adept_llm.data import Encoded, Example, read_instructions
from adept_llm.errors import InputError
from adept_llm.evaluation.generation import Decoding, generate
from adept_llm.files import write_whole
from adept_llm.tuned import Tuned


@dataclass(frozen=True)
class GenerateArguments:
    """What to answer, and how.

    Raises:
        InputError: unless exactly one of prompt and file is given.
    """

    prompt: str | None = field(default=None, metadata={"help": "an instruction or bare prompt"})
    input: str = field(default="", metadata={"help": "the text that the instruction is about"})
    file: str | None = field(
        default=None, metadata={"help": "rows as for --train_file; answers may be missing"}
    )
    output_file: str | None = field(
        default=None,
        metadata={"help": "JSONL with id and answer, or id and error; default: standard output"},
    )
    max_new_tokens: int = field(default=64, metadata={"help": "longest answer"})
    num_beams: int = field(default=1, metadata={"help": "1 is greedy"})
    do_sample: bool = field(default=False, metadata={"help": "draw tokens instead"})
    temperature: float = field(default=1.0, metadata={"help": "with --do_sample true"})
    top_p: float = field(default=1.0, metadata={"help": "with --do_sample true"})
    seed: int = field(default=0, metadata={"help": "with --do_sample true"})
    batch_size: int = field(default=16, metadata={"help": "rows at a time"})

    def __post_init__(self) -> None:
        if bool(self.prompt) == bool(self.file):
            raise InputError("generate: give either --prompt or --file")
        if self.input and not self.prompt:
            raise InputError("input: goes with --prompt")
        if self.batch_size < 1:
            raise InputError("batch_size: must be at least 1")
        if not self.do_sample and (self.temperature, self.top_p) != (1.0, 1.0):
            raise InputError("temperature, top_p: go with --do_sample true")
        if not self.temperature > 0:
            raise InputError(f"temperature: {self.temperature} is not above 0")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed: {self.seed} is not in [0, 2^32)")
        self.decoding()  # checks the rest
        check_output("output_file", self.output_file)

    def decoding(self) -> Decoding:
        """How answers are written."""
        temperature = self.temperature if self.do_sample else 0.0
        return Decoding(self.max_new_tokens, self.num_beams, temperature, self.top_p)


def main(argv: Sequence[str]) -> int:
    """Load base and adapter, answer, print or write.

    Returns:
        0, or 1 where a row of the file has an error instead of an answer.

    Raises:
        InputError: for an adapter or rows that do not fit.
    """
    given, args = parse([TunedArguments, GenerateArguments], argv, command="generate")
    tuned = given.open()
    tuned.check_context(args.max_new_tokens)
    rows = examples(args)
    encoded = tuned.encoder.encode_each(rows)
    fitting = [one for one in encoded if isinstance(one, Encoded)]
    if args.prompt and not fitting:
        limit = f"but max_length is {tuned.max_length}: shorten it, or raise --max_length"
        raise InputError(f"prompt: {encoded[0]}, {limit}")
    shortened = sum(one.truncated > 0 for one in fitting)
    if shortened or len(fitting) < len(rows):
        print(
            f"{len(rows)} rows: {shortened} shortened to max_length {tuned.max_length}, "
            f"{len(rows) - len(fitting)} too long to be answered",
            file=sys.stderr,
        )
    found = iter(answers(tuned, fitting, args) if fitting else ())
    told = [
        {"id": row.id, "error": f"max_length {tuned.max_length} is too short: {one}"}
        if isinstance(one, str)
        else {"id": row.id, "answer": next(found)}
        for row, one in zip(rows, encoded, strict=True)
    ]
    lines = [json.dumps(one, ensure_ascii=False) for one in told]
    if args.output_file:
        write_whole(Path(args.output_file), ("\n".join(lines) + "\n").encode())
    else:
        print("\n".join([told[0]["answer"]] if args.prompt else lines), flush=True)
    return int(len(fitting) < len(rows))


def examples(args: GenerateArguments) -> list[Example]:
    """The rows to answer; their targets stand for nothing, one token long."""
    if args.file:
        return read_instructions(args.file, answered=False)
    assert args.prompt is not None
    if args.input:
        return [Example(args.prompt, args.input, "?", id="prompt")]
    return [Example("", args.prompt, "?", id="prompt")]


def answers(tuned: Tuned, rows: Sequence[Encoded], args: GenerateArguments) -> list[str]:
    """The answers in the order of the rows."""
    tokenizer: Any = tuned.tokenizer
    torch.manual_seed(args.seed)
    found = generate(
        tuned.model, [row.prompt_ids for row in rows], tokenizer.eos_token_id, args.decoding(),
        args.batch_size,
    )  # fmt: skip
    return [
        tokenizer.decode(answer.ids, skip_special_tokens=True).strip() for answer in sorted(found)
    ]
