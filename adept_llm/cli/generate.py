"""adept-llm generate: answers of a tuned model."""

import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from adept_llm.adapters import get_adapter, read_adapter
from adept_llm.base.loading import check_context
from adept_llm.cli.parsing import check_output, parse
from adept_llm.cli.tuned import TunedArguments, base_config, load_tuned, tuned_tokenizer
from adept_llm.data import Encoded, Encoder, Example, read_instructions
from adept_llm.errors import InputError
from adept_llm.files import write_whole
from adept_llm.packing.collator import left_pad


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
        default=None, metadata={"help": "JSONL with id and answer; default: standard output"}
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
        for name in ("max_new_tokens", "num_beams", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: must be at least 1")
        if not self.do_sample and (self.temperature, self.top_p) != (1.0, 1.0):
            raise InputError("temperature, top_p: go with --do_sample true")
        if not 0 < self.temperature < math.inf:
            raise InputError(f"temperature: {self.temperature} is not above 0")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p: {self.top_p} is not in (0, 1]")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed: {self.seed} is not in [0, 2^32)")
        check_output("output_file", self.output_file)


def main(argv: Sequence[str]) -> None:
    """Load base and adapter, answer, print or write.

    Raises:
        InputError: for an adapter or rows that do not fit.
    """
    tuned, args = parse([TunedArguments, GenerateArguments], argv)
    config, table, _ = read_adapter(tuned.adapter)
    check_room(
        base_config(tuned, table), config.num_virtual_tokens, tuned.max_length, args.max_new_tokens
    )
    rows = examples(args)
    encoder = Encoder(tuned_tokenizer(tuned, table), tuned.template, tuned.max_length)
    encoded, report = encoder.encode_all(rows)
    if report.dropped or report.truncated:
        print(report, file=sys.stderr)
    model = load_tuned(tuned, table, tuned.quantization)
    torch.manual_seed(args.seed)
    answered = zip(encoded, answers(model, encoder.tokenizer, encoded, args), strict=True)
    if args.output_file:
        lines = [json.dumps({"id": e.id, "answer": a}, ensure_ascii=False) for e, a in answered]
        write_whole(Path(args.output_file), ("\n".join(lines) + "\n").encode())
        return
    for row, answer in answered:
        print(answer if args.prompt else json.dumps({"id": row.id, "answer": answer}), flush=True)


def check_room(config: Any, num_virtual_tokens: int, max_length: int, max_new_tokens: int) -> None:
    """Refuse a prompt, text and answer that exceed the model's context.

    Raises:
        InputError: naming what has to be smaller.
    """
    check_context(config, num_virtual_tokens, max_length)
    context = getattr(config, "max_position_embeddings", None)
    total = num_virtual_tokens + max_length + max_new_tokens
    if context is not None and total > context:
        raise InputError(
            f"max_new_tokens: {num_virtual_tokens} virtual tokens, {max_length} tokens of text and "
            f"{max_new_tokens} new ones exceed the model's context of {context}; lower "
            f"--max_new_tokens or --max_length by {total - context}"
        )


def examples(args: GenerateArguments) -> list[Example]:
    """The rows to answer; their targets stand for nothing, one token long."""
    if args.file:
        return read_instructions(args.file, answered=False)
    assert args.prompt is not None
    if args.input:
        return [Example(args.prompt, args.input, "?", id="prompt")]
    return [Example("", args.prompt, "?", id="prompt")]


def answers(
    model: Any, tokenizer: Any, rows: Sequence[Encoded], args: GenerateArguments
) -> Iterator[str]:
    """The stock model's own generate, with the virtual tokens next to the text."""
    virtual = get_adapter(model).virtual_token_ids
    device = get_adapter(model).weight.device
    # the base's own (penalties, top_k) would fill in whatever ours leaves out
    model.generation_config = GenerationConfig()
    drawn = {"temperature": args.temperature, "top_p": args.top_p, "top_k": 0}
    config = GenerationConfig(
        max_new_tokens=args.max_new_tokens, num_beams=args.num_beams, do_sample=args.do_sample,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.eos_token_id,
        **(drawn if args.do_sample else {}),
    )  # fmt: skip
    for start in range(0, len(rows), args.batch_size):
        texts = [virtual + row.prompt_ids for row in rows[start : start + args.batch_size]]
        out = model.generate(
            input_ids=left_pad(texts, 0).to(device),
            attention_mask=left_pad([[1] * len(text) for text in texts], 0).to(device),
            generation_config=config,
        )
        for row in out[:, max(map(len, texts)) :]:
            yield tokenizer.decode(row, skip_special_tokens=True).strip()
