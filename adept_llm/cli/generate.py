"""adept-llm generate: answers of a tuned model, or of several on one base.

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
from adept_llm.cli.streaming import Printed
from adept_llm.cli.tuned import TunedArguments
from adept_llm.data import Encoded, Example, Request, asked, read_requests
from adept_llm.errors import InputError
from adept_llm.evaluation.generation import Decoding, generate
from adept_llm.files import write_whole
from adept_llm.together import Together


@dataclass(frozen=True)
class DecodingArguments:
    """How answers are written.

    Raises:
        InputError: for values that cannot work.
    """

    max_new_tokens: int = field(default=64, metadata={"help": "longest answer"})
    num_beams: int = field(default=1, metadata={"help": "1 is greedy"})
    do_sample: bool = field(default=False, metadata={"help": "draw tokens instead"})
    temperature: float = field(default=1.0, metadata={"help": "with --do_sample true"})
    top_p: float = field(default=1.0, metadata={"help": "with --do_sample true"})
    seed: int = field(default=0, metadata={"help": "with --do_sample true"})

    def __post_init__(self) -> None:
        if not self.do_sample and (self.temperature, self.top_p) != (1.0, 1.0):
            raise InputError("temperature, top_p: go with --do_sample true")
        if not self.temperature > 0:
            raise InputError(f"temperature: {self.temperature} is not above 0")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed: {self.seed} is not in [0, 2^32)")
        self.decoding()  # checks the rest

    def decoding(self) -> Decoding:
        """The same as the library takes it."""
        temperature = self.temperature if self.do_sample else 0.0
        return Decoding(self.max_new_tokens, self.num_beams, temperature, self.top_p)


@dataclass(frozen=True)
class GenerateArguments:
    """What to answer, and where answers go.

    Raises:
        InputError: unless exactly one of prompt and file is given.
    """

    prompt: str | None = field(
        default=None, metadata={"help": "asked in the form of the training rows"}
    )
    input: str = field(default="", metadata={"help": "the text that the instruction is about"})
    file: str | None = field(
        default=None,
        metadata={
            "help": "rows as for --train_file, answers may be missing, - for JSONL on standard "
            "input; with several adapters each names its own in a column `adapter`"
        },
    )
    output_file: str | None = field(
        default=None,
        metadata={"help": "JSONL with id and answer, or id and error; default: standard output"},
    )
    batch_size: int = field(default=16, metadata={"help": "rows at a time"})
    stream: bool = field(
        default=False, metadata={"help": "print the answer to --prompt while it is written"}
    )

    def __post_init__(self) -> None:
        if bool(self.prompt) == bool(self.file):
            raise InputError("generate: give either --prompt or --file")
        if self.input and not self.prompt:
            raise InputError("input: goes with --prompt")
        if self.batch_size < 1:
            raise InputError("batch_size: must be at least 1")
        if self.stream and (self.file or self.output_file):
            raise InputError("stream: goes with --prompt, and without --output_file")
        check_output("output_file", self.output_file, file=self.file)


def main(argv: Sequence[str]) -> int:
    """Load base and adapters, answer, print or write.

    Returns:
        0, or 1 where a row of the file has an error instead of an answer.

    Raises:
        InputError: for an adapter or rows that do not fit.
    """
    given, decoding, args = parse(
        [TunedArguments, DecodingArguments, GenerateArguments], argv, command="generate"
    )
    together = given.open()
    check(args, decoding, together)
    rows = requests(args, together.runs[together.names[0]].form)
    owners = [together.name_of(row.adapter, row.where) for row in rows]
    encoded = together.encode(owners, [row.example for row in rows])
    limits = [together.runs[owner].max_length for owner in owners]
    fitting = [place for place, one in enumerate(encoded) if isinstance(one, Encoded)]
    if args.prompt and not fitting:
        limit = f"but max_length is {limits[0]}: shorten it, or raise --max_length"
        raise InputError(f"prompt: {encoded[0]}, {limit}")
    tell_of_lengths(encoded, limits)
    asked = [encoded[place] for place in fitting]
    whose = [owners[place] for place in fitting]
    found = iter(answers(together, asked, whose, decoding, args) if asked else ())
    if args.stream:
        return 0
    told = [
        {"id": row.example.id}
        | ({"adapter": owner} if len(together.runs) > 1 else {})
        | (
            {"error": f"max_length {limit} is too short: {one}"}
            if isinstance(one, str)
            else {"answer": next(found)}
        )
        for row, owner, one, limit in zip(rows, owners, encoded, limits, strict=True)
    ]
    lines = [json.dumps(one, ensure_ascii=False) for one in told]
    if args.output_file:
        write_whole(Path(args.output_file), ("\n".join(lines) + "\n").encode())
    else:
        print("\n".join([told[0]["answer"]] if args.prompt else lines), flush=True)
    return int(len(fitting) < len(rows))


def check(args: GenerateArguments, decoding: DecodingArguments, together: Together) -> None:
    """Refuse arguments that do not go together.

    Raises:
        InputError: saying which.
    """
    if args.prompt and len(together.runs) > 1:
        raise InputError("prompt: goes with one --adapter; rows of a --file name theirs")
    if args.stream and decoding.num_beams > 1:
        raise InputError("stream: beams are known at the end only; leave out --num_beams")
    together.check_context(decoding.max_new_tokens)


def requests(args: GenerateArguments, form: str) -> list[Request]:
    """The rows to answer; their targets stand for nothing, one token long.

    Args:
        args: With the file, or the prompt.
        form: In which a prompt is asked, that of the training rows.
    """
    if args.file:
        return read_requests(args.file)
    assert args.prompt is not None
    if args.input:
        return [Request(Example(args.prompt, args.input, "?", id="prompt"), None, "prompt")]
    return [Request(asked(args.prompt, form, "prompt"), None, "prompt")]


def tell_of_lengths(encoded: Sequence[Encoded | str], limits: Sequence[int]) -> None:
    """Say how many rows were shortened, and how many are too long."""
    dropped = sum(isinstance(one, str) for one in encoded)
    shortened = sum(isinstance(one, Encoded) and one.truncated > 0 for one in encoded)
    if shortened or dropped:
        limit = " or ".join(map(str, sorted(set(limits))))
        print(
            f"{len(encoded)} rows: {shortened} shortened to max_length {limit}, "
            f"{dropped} too long to be answered",
            file=sys.stderr,
        )


def answers(
    together: Together,
    rows: Sequence[Any],
    owners: Sequence[str],
    decoding: DecodingArguments,
    args: GenerateArguments,
) -> list[str]:
    """The answers in the order of the encoded rows."""
    tokenizer: Any = together.tokenizer
    torch.manual_seed(decoding.seed)
    found = generate(
        together.model, [row.prompt_ids for row in rows], tokenizer.eos_token_id,
        decoding.decoding(), args.batch_size, adapters=owners,
        streamer=Printed(tokenizer) if args.stream else None,
    )  # fmt: skip
    return [
        tokenizer.decode(answer.ids, skip_special_tokens=True).strip() for answer in sorted(found)
    ]
