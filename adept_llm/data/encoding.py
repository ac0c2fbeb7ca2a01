"""From examples to token ids, without ever moving or cutting a target.

Prompt and target are tokenised apart, so that their boundary is fixed and the prompt's ids are the
same whatever the target; together only where the loss is on all tokens. What is too long loses
words of its context, nothing else: to train on, all but the piece that holds the answer (or the
beginning); to measure on, it is read in overlapping windows, since where the answer stands must not
be known.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from adept_llm.data.encoded import Encoded, Report, Tally
from adept_llm.data.example import Example
from adept_llm.data.fitting import Cut, Fitted, one_piece, shorten, windows
from adept_llm.data.learnt import LOSSES, Learnt, earlier_turns, token_spans
from adept_llm.data.row import CHUNK
from adept_llm.data.templates import Prompt, render, target_gap
from adept_llm.data.tokens import Splitter, Tokens
from adept_llm.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass
class Encoder:
    """Turns examples into token ids.

    The ids of a prompt do not depend on its target, with one exception: to train on, a context that
    is too long is shortened to leave room for a free-text target (for a label: for the longest
    label), and to keep the answer in it.

    Args:
        tokenizer: A fast tokenizer with an EOS token.
        template: 'plain', 'alpaca', 'chat' or 'reference'.
        max_length: Largest number of tokens of prompt and target together; virtual tokens are not
            counted.
        loss_on: What `encode` and `encode_all` give to be learnt. 'target': the target and EOS.
            'all': every token but the first, be it BOS or a word; prompt and target are one text
            then, tokenised together. 'assistant': every turn of the assistant in a conversation,
            with its EOS where the chat template writes one; elsewhere as 'target'.

    Raises:
        InputError: The tokenizer is slow or knows no EOS, the template is unknown or 'chat' and the
            tokenizer has no chat template, `max_length` is below 2, or `loss_on` is unknown or
            'assistant' without a chat template.
    """

    tokenizer: "PreTrainedTokenizerBase"
    template: str
    max_length: int
    loss_on: str = "target"
    _gap: str = field(init=False, repr=False)
    _splitter: Splitter = field(init=False, repr=False)
    _label_ids: dict[tuple[str, ...], list[list[int]]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the settings."""
        self._splitter = Splitter(self.tokenizer)
        if self.max_length < 2:
            raise InputError(f"max_length must be at least 2, not {self.max_length}")
        if self.loss_on not in LOSSES:
            raise InputError(f"loss_on: {self.loss_on!r} is unknown; known: {', '.join(LOSSES)}")
        if self.loss_on == "assistant" and self.template != "chat":
            raise InputError(
                f"loss_on: template {self.template!r} does not mark the assistant's turns; give "
                "--template chat, or --loss_on target"
            )
        # An unknown template is refused here rather than at the first example.
        asked = "" if self.template == "reference" else "a"
        render(self.template, Example(asked, "b", "c", id="probe"), self.tokenizer)
        self._gap = target_gap(self.template, self.tokenizer)
        self._label_ids = {}

    def encode(self, example: Example) -> Encoded | None:
        """Encode one example to train on.

        Args:
            example: What to encode.

        Returns:
            The ids, or None where the example does not fit even with an empty context.

        Raises:
            InputError: The chat template refuses the conversation, or hides whose turn it is where
                the loss is on the assistant's.
        """
        ((found, *_),) = self._encode_chunk([example], None, one_piece, self.loss_on)
        return found if isinstance(found, Encoded) else None

    def encode_each(self, examples: Iterable[Example]) -> "list[Encoded | str]":
        """Encode examples to answer, one result for each of them.

        Args:
            examples: What to encode.

        Returns:
            The ids, or why there are none: how many tokens do not fit.

        Raises:
            InputError: As `encode`.
        """
        stream, found = iter(examples), []
        while chunk := list(islice(stream, CHUNK)):
            found += [one for one, *_ in self._encode_chunk(chunk, None, one_piece)]
        return found

    def encode_all(self, examples: Iterable[Example]) -> tuple[list[Encoded], Report]:
        """Encode many examples to train on and count what became of them.

        Args:
            examples: What to encode.

        Returns:
            The encoded examples, in order and without the dropped ones, and the counts.

        Raises:
            InputError: Nothing is left, or as `encode`.
        """
        encoded, tally, stream = [], Tally(), iter(examples)
        while chunk := list(islice(stream, CHUNK)):
            encoded += self.encode_part(chunk, tally)
        return encoded, self.report(tally)

    def encode_part(self, examples: Sequence[Example], tally: Tally) -> list[Encoded]:
        """Encode some of the examples to train on.

        Args:
            examples: What to encode, at once.
            tally: Counts what becomes of them.

        Returns:
            The encoded ones, in order and without the dropped ones.

        Raises:
            InputError: As `encode`.
        """
        found = self._encode_chunk(examples, None, one_piece, self.loss_on)
        pairs = zip(examples, found, strict=True)
        return [one for example, each in pairs for one in tally.count(example.id, each)]

    def report(self, tally: Tally) -> Report:
        """What became of all examples.

        Raises:
            InputError: Nothing is left of them.
        """
        if not tally.kept:
            why = f"; the first: {tally.first_dropped[0]}" if tally.dropped else ""
            raise InputError(
                f"no example is left with max_length {self.max_length} and template "
                f"{self.template!r}{why}: raise max_length or give shorter examples"
            )
        return tally.report()

    def encode_windows(
        self, examples: Iterable[Example], max_new_tokens: int
    ) -> tuple[list[list[Encoded]], Report]:
        """Encode examples to measure on; a long context becomes windows that overlap by half.

        Args:
            examples: What to encode.
            max_new_tokens: Tokens kept free for a free-text answer; labels need no more than the
                longest of them.

        Returns:
            The windows of each example, one or more, an empty list for a dropped example; and the
            counts.

        Raises:
            InputError: Nothing is left, or as `encode`.
        """
        encoded, tally, stream = [], Tally(), iter(examples)
        while chunk := list(islice(stream, CHUNK)):
            found = self._encode_chunk(chunk, max_new_tokens, windows)
            pairs = zip(chunk, found, strict=True)
            encoded += [tally.count(example.id, each) for example, each in pairs]
        return encoded, self.report(tally)

    def label_ids(self, labels: Sequence[str]) -> list[list[int]]:
        """Tokenise label words just as targets are, but without EOS.

        Args:
            labels: The words.

        Returns:
            One list of ids per word.
        """
        return self._splitter.continuations(_behind(self._gap, labels)) if labels else []

    def _encode_chunk(
        self,
        examples: Sequence[Example],
        max_new_tokens: int | None,
        cut: Cut,
        loss_on: str = "target",
    ) -> "list[list[Encoded | str]]":
        """Each example's sequences, or one reason why it does not fit."""
        prompts = [render(self.template, example, self.tokenizer) for example in examples]
        answers = [self._answer(example) for example in examples]
        self._remember_labels(examples)
        joint = loss_on == "all"
        if joint:
            pairs = zip(prompts, answers, strict=True)
            prompts = [one._replace(text=one.text + answer) for one, answer in pairs]
        tokens = self._splitter.prompts([prompt.text for prompt in prompts])
        targets = [[] for _ in answers] if joint else self._continuations(answers)
        fitted = [
            Fitted(
                example,
                prompt,
                ids,
                [*target, self._splitter.eos],
                self._room(example, target, max_new_tokens, joint),
                self._learnt(example, prompt, ids, loss_on),
            )
            for example, prompt, ids, target in zip(examples, prompts, tokens, targets, strict=True)
        ]
        too_long = [one for one in fitted if one.too_long]
        shortened = shorten(too_long, cut, self._splitter, self.max_length)
        return [
            next(shortened) if one.too_long else [one.encoded(one.tokens.ids)] for one in fitted
        ]

    def _continuations(self, answers: Sequence[str]) -> list[list[int]]:
        """Token ids of answers; labels come again and again, and are tokenised once."""
        distinct = list(dict.fromkeys(answers))
        ids = dict(zip(distinct, self._splitter.continuations(distinct), strict=True))
        return [ids[answer] for answer in answers]

    def _answer(self, example: Example) -> str:
        """The target with the white space in front of it."""
        gap = self._gap if example.gap is None else example.gap
        (answer,) = _behind(gap, [example.target])
        return answer

    def _learnt(self, example: Example, prompt: Prompt, tokens: Tokens, loss_on: str) -> Learnt:
        """What is learnt of the tokens in front of EOS or of the target."""
        if loss_on == "all":
            return Learnt(first=max(1, len(self._splitter.prefix)))
        if loss_on == "assistant" and example.messages:
            turns = earlier_turns(example, prompt.text, self.tokenizer)
            return Learnt(spans=token_spans(tokens, prompt.text, turns))
        return Learnt()

    def _room(
        self, example: Example, target: list[int], max_new_tokens: int | None, joint: bool
    ) -> int:
        """Tokens that a prompt may have, its target among them where they are one text.

        Were room kept for the target's own length where it is to be told, the length of a
        shortened prompt would give the answer away.
        """
        labels = self._label_ids.get(example.labels, [])
        longest = max([0, *map(len, labels)])
        if joint and labels:
            longest -= len(labels[example.labels.index(example.target)])
            return self.max_length - longest - 1
        return self.max_length - (longest or max_new_tokens or len(target)) - 1

    def _remember_labels(self, examples: Sequence[Example]) -> None:
        """Tokenise the label words that have not been seen yet, all at once."""
        if len(self._label_ids) > CHUNK:
            self._label_ids.clear()  # they differ from row to row
        new = {e.labels for e in examples if e.labels} - self._label_ids.keys()
        ids = iter(self.label_ids([word for labels in new for word in labels]))
        self._label_ids.update({labels: list(islice(ids, len(labels))) for labels in new})


def _behind(gap: str, targets: Sequence[str]) -> list[str]:
    """Targets behind a gap; one that brings white space of its own (say, code) gets none."""
    return [text if text[:1].isspace() else gap + text for text in targets]
