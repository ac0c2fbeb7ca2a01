"""What of a row the loss is on, beyond its target: all of it, or the assistant's earlier turns.

The turns are found by writing the conversation up to each of them: what the chat template puts in
front of an answer must be how the whole conversation begins, and the answer must stand behind it. A
template that rewrites earlier turns (some drop what was thought there) is refused, not guessed at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from adept_llm.data.example import Example
from adept_llm.data.templates import Span, render_messages
from adept_llm.data.tokens import Tokens
from adept_llm.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LOSSES = ("target", "all", "assistant")


@dataclass(frozen=True)
class Learnt:
    """What is learnt of the tokens of a prompt.

    Attributes:
        first: Number of tokens from which on all are learnt; None for none but `spans`.
        spans: Tokens of earlier turns that are learnt, in order.
    """

    first: int | None = None
    spans: tuple[Span, ...] = ()

    def of(self, length: int) -> tuple[Span, ...]:
        """Spans of a prompt of so many tokens; the last one begins what is behind it, if empty."""
        if self.first is not None:
            return ((self.first, length),)
        return (*self.spans, (length, length))


def gaps(spans: Sequence[Span]) -> tuple[Span, ...]:
    """What lies between spans, counted from the first one's begin."""
    first = spans[0][0]
    between = ((one[1] - first, two[0] - first) for one, two in pairwise(spans))
    return tuple((start, end) for start, end in between if start < end)


def earlier_turns(
    example: Example, text: str, tokenizer: "PreTrainedTokenizerBase"
) -> tuple[Span, ...]:
    """Where the assistant's turns before the target stand in a conversation.

    Args:
        example: The conversation.
        text: As the chat template writes it, up to the target.
        tokenizer: With the template.

    Returns:
        Spans of characters: what was said, and the EOS behind it where there is one.

    Raises:
        InputError: The template does not show where a turn is.
    """
    found = []
    eos = str(tokenizer.eos_token)
    for number, (role, said) in enumerate(example.messages):
        if role != "assistant":
            continue
        before = render_messages(tokenizer, example.messages[:number], example.id)
        behind = text.removeprefix(before) if text.startswith(before) else ""
        said = said.strip()
        if not behind.lstrip().startswith(said):
            raise InputError(
                f"{example.id}: the tokenizer's chat template hides where message {number + 1} "
                "stands, so the loss cannot be on it; give --loss_on target or all"
            )
        start = len(text) - len(behind.lstrip())
        end = start + len(said)
        rest = text[end:].lstrip()
        if rest.startswith(eos):
            end = len(text) - len(rest) + len(eos)
        found.append((start, end))
    return tuple(found)


def token_spans(tokens: Tokens, text: str, turns: Sequence[Span]) -> tuple[Span, ...]:
    """The tokens that hold characters of the turns and of nothing else, white space apart.

    Tokenizers differ in whether the space before a word is in its token's span. A token of white
    space alone belongs to a turn where it stands between two that do.
    """
    cores = [_core(text, span) for span in tokens.spans]
    found = []
    for start, end in turns:
        held = [n for n, (a, b) in enumerate(cores) if start <= a < b <= end]
        if held:
            found.append((held[0], held[-1] + 1))
    return tuple(found)


def _core(text: str, span: Span) -> Span:
    """A span without the white space around it."""
    piece = text[slice(*span)]
    start = span[1] - len(piece.lstrip())
    return start, start + len(piece.strip())
