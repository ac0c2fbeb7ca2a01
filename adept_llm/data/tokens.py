"""Tokenising a prompt and what follows it apart, for tokenizers of all habits.

Some put BOS in front of a text, some a '▁', that is a space, some neither. A prompt wants BOS once;
a target wants neither, but exactly the white space that is meant to stand before it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adept_llm.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Tokens:
    """A tokenised text.

    Attributes:
        ids: The token ids.
        encoding: What the tokenizer said of the text.
        added: Number of ids in front that stand for no character of it.
    """

    ids: list[int]
    encoding: "Encoding"
    added: int = 0

    @property
    def spans(self) -> list[tuple[int, int]]:
        """For each id the start and end of its characters in the text.

        Made when asked for: few rows are shortened, and a pair for each token takes as long as a
        third of the tokenising.
        """
        return [(0, 0)] * self.added + self.encoding.offsets


class Splitter:
    """Tokenises prompts and continuations with one tokenizer.

    Args:
        tokenizer: A fast tokenizer with an EOS token.

    Attributes:
        prefix: The ids that the tokenizer puts in front of a text: BOS or nothing.
        eos: The id of EOS.

    Raises:
        InputError: The tokenizer is slow or has no EOS.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        """Check the tokenizer and find out its habits."""
        name = f"the tokenizer of {tokenizer.name_or_path!r}"
        if not tokenizer.is_fast:
            raise InputError(f"{name} is slow; use a model with a tokenizer.json (a fast one)")
        if tokenizer.eos_token_id is None:
            raise InputError(f"{name} has no EOS token, so that answers could not end; set one")
        self._tokenizer = tokenizer
        self.eos: int = tokenizer.eos_token_id
        (bare,), (full,) = self._tokenize(["a"]), self._tokenize(["a"], add_special_tokens=True)
        self.prefix = full.ids[: _position(bare.ids, full.ids)]
        twice = tokenizer.decode(bare.ids + bare.ids)
        self._writes_space = isinstance(twice, str) and " " in twice.strip()

    def prompts(self, texts: list[str]) -> list[Tokens]:
        """Tokenise prompts, each with BOS if the tokenizer is in the habit of adding it.

        Args:
            texts: The prompts; one that begins with BOS itself (as chat templates write it) gets no
                second one.

        Returns:
            The tokens of each; the span of an added BOS is empty.
        """
        added = len(self.prefix)
        return [
            tokens
            if tokens.ids[:added] == self.prefix
            else Tokens(self.prefix + tokens.ids, tokens.encoding, added)
            for tokens in self._tokenize(texts)
        ]

    def continuations(self, texts: list[str]) -> list[list[int]]:
        """Tokenise texts as they stand behind a prompt.

        Args:
            texts: The texts, with the white space that they begin with.

        Returns:
            The ids of each, without BOS and with neither more nor less white space.
        """
        if not self._writes_space:
            return [tokens.ids for tokens in self._tokenize(texts)]
        # The tokenizer's own '▁' is the one space. Text with other white space, or with none, is
        # tokenised behind a line break, which is then taken away.
        apart = [text[:1] == " " and not text[1:2].isspace() for text in texts]
        given = [text[1:] if one else "\n" + text for text, one in zip(texts, apart, strict=True)]
        rows = self._tokenize(given)
        return [
            tokens.ids if one else self._without_line_break(text, tokens)
            for text, one, tokens in zip(texts, apart, rows, strict=True)
        ]

    def _without_line_break(self, text: str, tokens: Tokens) -> list[int]:
        """The ids of a text behind a line break; tokenised apart if a token holds both."""
        start = sum(end <= 1 for _, end in tokens.spans)
        clean = all(begin >= 1 for begin, _ in tokens.spans[start:])
        return tokens.ids[start:] if clean else self._tokenize([text])[0].ids

    def _tokenize(self, texts: list[str], add_special_tokens: bool = False) -> list[Tokens]:
        batch = self._tokenizer(
            texts,
            add_special_tokens=add_special_tokens,
            return_attention_mask=False,
            verbose=False,  # no warning on long texts: they are shortened afterwards
        )
        return [Tokens(*pair) for pair in zip(batch.input_ids, batch.encodings, strict=True)]


def _position(part: list[int], whole: list[int]) -> int:
    """Where a list begins in another one that contains it."""
    return next(i for i in range(len(whole)) if whole[i : i + len(part)] == part)
