"""What stays of a context that is too long: runs of whole words, by how many tokens they take.

A text is cut between words, and the prompt around what stays is tokenised anew: were tokens cut
out, the first of one word could stand before the last of another. Chinese and Japanese write no
spaces: there each character is a word. A word that alone is too long is cut between its tokens.
"""

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

Span = tuple[int, int]

CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
WIDE_MARKS = "\u3000-\u303f\uff00-\uffef"
WORD = re.compile(rf"[{CJK}][{WIDE_MARKS}]*|[^\s{CJK}]+")


@dataclass(frozen=True)
class LongContext:
    """A context that is too long, within its prompt.

    All spans are of characters of the prompt.

    Attributes:
        text: The prompt.
        context: What may be shortened of it.
        tokens: The spans of its tokens.
    """

    text: str
    context: Span
    tokens: list[Span]
    _starts: list[int] = field(init=False, repr=False)
    _ends: list[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Sort out where tokens begin and end: they are in order."""
        object.__setattr__(self, "_starts", [start for start, _ in self.tokens])
        object.__setattr__(self, "_ends", [end for _, end in self.tokens])

    def piece(self, size: int, focus: Span | None = None) -> Span:
        """A run of words to train on.

        Args:
            size: Tokens that it may have.
            focus: Characters that hold the answer; the run is around them, else at the beginning.

        Returns:
            The run; an empty span where no word fits.
        """
        words = self._words(size)
        held = [n for n, (a, b) in enumerate(words) if focus and a < focus[1] and b > focus[0]]
        first = held[0] if held else 0
        if held:
            needed = self._size(words, first, held[-1])
            left = needed + max(0, size - needed) // 2
            while first and self._size(words, first - 1, held[-1]) <= left:
                first -= 1
        last = self._last(words, first, size)
        return self._run(words, self._widened(words, first, last, size) if held else first, last)

    def windows(self, size: int) -> list[Span]:
        """Runs of words that overlap by half and together hold all words that fit.

        Args:
            size: Tokens that each may have.

        Returns:
            One run or more; an empty span where no word fits.
        """
        words, first, found = self._words(size), 0, []
        while first < len(words):
            last = self._last(words, first, size)
            if last == len(words) - 1:
                found.append(self._run(words, self._widened(words, first, last, size), last))
                break
            if last >= first:
                found.append(self._run(words, first, last))
            first = max(first + 1, 1 + self._last(words, first, size // 2))
        return found or [self._run(words, 0, -1)]

    def without(self, span: Span) -> str:
        """The prompt with nothing but a run of its context."""
        return self.text[: self.context[0]] + self.text[slice(*span)] + self.text[self.context[1] :]

    def _words(self, size: int) -> list[Span]:
        words: list[Span] = []
        for found in WORD.finditer(self.text, *self.context) if size > 0 else ():
            if self._tokens(*found.span()) <= size:
                words.append(found.span())
            else:
                words += self._parts(*found.span())
        return words

    def _parts(self, start: int, end: int) -> list[Span]:
        """A word's tokens, but characters of several tokens as a whole."""
        pairs = zip(self._ends, self._starts[1:], strict=False)
        cuts = [start, *(b for a, b in pairs if start < b < end and a <= b), end]
        return [(a, b) for a, b in zip(cuts, cuts[1:], strict=False) if a < b]

    def _tokens(self, start: int, end: int) -> int:
        """Number of tokens that have a part of some characters."""
        return bisect_left(self._starts, end) - bisect_right(self._ends, start)

    def _size(self, words: list[Span], first: int, last: int) -> int:
        return self._tokens(words[first][0], words[last][1])

    def _last(self, words: list[Span], first: int, size: int) -> int:
        """The last word of the longest run that fits; before the first where none does."""
        rest = range(first, len(words))
        return first - 1 + bisect_right(rest, size, key=lambda n: self._size(words, first, n))

    def _widened(self, words: list[Span], first: int, last: int, size: int) -> int:
        """Begin a run with as many more words as fit."""
        while first and last >= first and self._size(words, first - 1, last) <= size:
            first -= 1
        return first

    def _run(self, words: list[Span], first: int, last: int) -> Span:
        """Words with what is between them; at the context's ends also with the space around."""
        start, end = self.context
        if last < first:
            return start, start
        return (
            words[first][0] if first else start,
            words[last][1] if last < len(words) - 1 else end,
        )
