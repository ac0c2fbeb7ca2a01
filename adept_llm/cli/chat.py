"""adept-llm chat: a conversation with a tuned model on the terminal, or through a pipe.

Each line of the input is a turn, Ctrl-D ends. With the template chat, and where it learnt from
conversations, the model sees the whole conversation, of which the oldest turns are forgotten when
it no longer fits; otherwise each line is asked on its own, in the form of the training rows.
"""

import sys
from collections.abc import Iterator, Sequence

import torch

from adept_llm.cli.generate import DecodingArguments
from adept_llm.cli.parsing import parse
from adept_llm.cli.streaming import Printed
from adept_llm.cli.tuned import TunedArguments
from adept_llm.data import Encoded, Encoder, asked
from adept_llm.errors import InputError
from adept_llm.evaluation.generation import generate
from adept_llm.evaluation.prefixes import Prefixes
from adept_llm.together import Together

Turns = list[tuple[str, str]]


def main(argv: Sequence[str]) -> None:
    """Load base and adapter, then answer line after line.

    Raises:
        InputError: for an adapter that does not fit.
    """
    given, decoding = parse([TunedArguments, DecodingArguments], argv, command="chat")
    together = given.open()
    if len(together.runs) > 1:
        raise InputError("adapter: chat goes with one; leave out the others")
    if decoding.num_beams > 1:
        raise InputError("num_beams: beams are known at the end only; leave it out")
    together.check_context(decoding.max_new_tokens)
    talk(together, decoding)


def talk(together: Together, decoding: DecodingArguments) -> None:
    """Answer each line until the input ends."""
    (name,) = together.runs
    encoder, tokenizer = together.encoder(name), together.tokenizer
    form = "messages" if encoder.template == "chat" else together.runs[name].form
    prefixes = Prefixes(together.model, [name])
    torch.manual_seed(decoding.seed)
    before: Turns = []
    for said in lines():
        before, encoded = fitted(encoder, form, before, said)
        if isinstance(encoded, str):
            limit = f"max_length is {encoder.max_length}: shorten it, or raise --max_length"
            print(f"error: {encoded}, but {limit}", file=sys.stderr, flush=True)
            continue
        (answer,) = generate(
            together.model, [encoded.prompt_ids], tokenizer.eos_token_id, decoding.decoding(),
            adapters=[name], prefixes=prefixes, streamer=Printed(tokenizer),
        )  # fmt: skip
        if form == "messages":
            text = str(tokenizer.decode(answer.ids, skip_special_tokens=True)).strip()
            before += [("user", said), ("assistant", text)]


def lines() -> Iterator[str]:
    """What is said, until the input ends; on a terminal behind a sign that it is waited for."""
    terminal = sys.stdin.isatty()
    while True:
        try:
            line = input("> " if terminal else "").strip()
        except EOFError:
            if terminal:
                print()
            return
        except UnicodeDecodeError as error:
            raise InputError("chat: a line is no UTF-8; write it as such") from error
        if line:
            yield line


def fitted(encoder: Encoder, form: str, before: Turns, said: str) -> tuple[Turns, Encoded | str]:
    """The turns that fit in front of what is said, and all as ids, or why there are none."""
    while True:
        (encoded,) = encoder.encode_each([asked(said, form, "turn", tuple(before))])
        if isinstance(encoded, Encoded) or not before:
            return before, encoded
        before = before[2:]
