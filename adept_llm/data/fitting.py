"""Prompts that must fit: how many tokens there is room for, and what is cut until they do."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from adept_llm.data.encoded import Encoded
from adept_llm.data.example import Example
from adept_llm.data.learnt import Learnt, gaps
from adept_llm.data.shortening import LongContext, Span
from adept_llm.data.templates import Prompt
from adept_llm.data.tokens import Splitter, Tokens

# of a context and its prompt, with so many tokens: the runs that stay
Cut = Callable[[LongContext, Prompt, int], list[Span]]


class Fitted(NamedTuple):
    """An example's tokens, and how many of its prompt there is room for."""

    example: Example
    prompt: Prompt
    tokens: Tokens
    target_ids: list[int]
    room: int
    learnt: Learnt

    @property
    def too_long(self) -> bool:
        """Whether the whole prompt does not fit."""
        return len(self.tokens.ids) > self.room

    def encoded(self, prompt_ids: list[int]) -> Encoded:
        """The example with the whole prompt or a shortened one."""
        one = self.example
        label = one.labels.index(one.target) if one.labels else -1
        truncated = len(self.tokens.ids) - len(prompt_ids)
        spans = self.learnt.of(len(prompt_ids))
        first, ids = spans[0][0], prompt_ids + self.target_ids
        return Encoded(ids[:first], ids[first:], one.id, label, truncated, gaps(spans))


def shorten(
    fitted: Sequence[Fitted], cut: Cut, splitter: Splitter, max_length: int
) -> Iterator[list[Encoded | str]]:
    """Cut contexts until all prompts fit: tokenised anew, they may be longer than reckoned.

    Args:
        fitted: Those that are too long.
        cut: What stays of a context.
        splitter: Tokenises what stays.
        max_length: Of prompt and target, for the reason why one cannot fit.

    Returns:
        Each one's sequences, or one reason.
    """
    if not fitted:
        return iter(())
    contexts = [
        LongContext(one.prompt.text, one.prompt.context, one.tokens.spans) for one in fitted
    ]
    bare = splitter.prompts([one.without((0, 0)) for one in contexts])
    sizes = [one.room - len(rest.ids) for one, rest in zip(fitted, bare, strict=True)]
    found: dict[int, list[Encoded | str]] = {
        n: [f"{max_length - size} tokens even without its context"]
        for n, size in enumerate(sizes)
        if size < 0
    }
    while waiting := [n for n in range(len(fitted)) if n not in found]:
        runs = [cut(contexts[n], fitted[n].prompt, sizes[n]) for n in waiting]
        texts = [
            contexts[n].without(run) for n, each in zip(waiting, runs, strict=True) for run in each
        ]
        tokens = iter(splitter.prompts(texts))
        for n, each in zip(waiting, runs, strict=True):
            ids = [next(tokens).ids for _ in each]
            surplus = max(map(len, ids)) - fitted[n].room
            sizes[n] = max(0, sizes[n] - surplus)
            if surplus <= 0:
                found[n] = [fitted[n].encoded(one) for one in ids]
    return (found[n] for n in range(len(fitted)))


def one_piece(context: LongContext, prompt: Prompt, size: int) -> list[Span]:
    """What stays to train on: around the answer where its place is known."""
    return [context.piece(size, prompt.focus)]


def windows(context: LongContext, prompt: Prompt, size: int) -> list[Span]:
    """What is read to measure on."""
    return context.windows(size)
