"""From examples to token ids, without ever moving or cutting a target.

Prompt and target are tokenised apart, so that their boundary is fixed and the prompt's ids are the
same whatever the target. What is too long loses tokens from the end of its context, nowhere else.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from adept_llm.errors import InputError
from adept_llm.tasks.example import Example
from adept_llm.tasks.templates import Prompt, render, target_gap
from adept_llm.tasks.tokens import Splitter, Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHUNK = 1000  # examples tokenised in one call: the tokenizers library spreads a call over all cores
DROPPED_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Encoded:
    """An example as token ids, without virtual tokens.

    Attributes:
        prompt_ids: BOS if the tokenizer is in the habit of adding one, then the prompt.
        target_ids: The target and EOS.
        id: The example's id.
        label: Index of the target in the example's labels; -1 for free text.
        truncated: Number of tokens that were removed from the context.
    """

    prompt_ids: list[int]
    target_ids: list[int]
    id: str
    label: int
    truncated: int


@dataclass(frozen=True)
class Report:
    """What became of a set of examples; `str` gives one line for the log.

    Attributes:
        kept: Number of encoded examples, shortened ones included.
        truncated: Number of examples whose context was shortened.
        dropped: Number of examples that do not fit even without their context.
        first_dropped: 'id: reason' of the first few of them.
        mean_length: Mean number of tokens of prompt and target of the kept examples.
        longest: Largest such number.
    """

    kept: int
    truncated: int
    dropped: int
    first_dropped: tuple[str, ...]
    mean_length: float
    longest: int

    def __str__(self) -> str:
        """Say it in one line."""
        line = (
            f"{self.kept} examples of {self.mean_length:.1f} tokens on average, "
            f"{self.longest} at most; {self.truncated} shortened, {self.dropped} dropped"
        )
        return f"{line} ({'; '.join(self.first_dropped)})" if self.dropped else line


@dataclass
class Encoder:
    """Turns examples into token ids.

    The ids of a prompt do not depend on its target, with one exception: a context that is too long
    is shortened to leave room for a free-text target (for a label: for the longest label).

    Args:
        tokenizer: A fast tokenizer with an EOS token.
        template: 'plain', 'alpaca' or 'chat'.
        max_length: Largest number of tokens of prompt and target together; virtual tokens are not
            counted.

    Raises:
        InputError: The tokenizer is slow or knows no EOS, the template is unknown or 'chat' and the
            tokenizer has no chat template, or `max_length` is below 2.
    """

    tokenizer: "PreTrainedTokenizerBase"
    template: str
    max_length: int
    _gap: str = field(init=False, repr=False)
    _splitter: Splitter = field(init=False, repr=False)
    _label_ids: dict[tuple[str, ...], list[list[int]]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the settings."""
        self._splitter = Splitter(self.tokenizer)
        if self.max_length < 2:
            raise InputError(f"max_length must be at least 2, not {self.max_length}")
        # An unknown template is refused here rather than at the first example.
        render(self.template, Example("a", "b", "c", id="probe"), self.tokenizer)
        self._gap = target_gap(self.template, self.tokenizer)
        self._label_ids = {}

    def encode(self, example: Example) -> Encoded | None:
        """Encode one example.

        Args:
            example: What to encode.

        Returns:
            The ids, or None where the example does not fit even with an empty context.

        Raises:
            InputError: The chat template refuses the conversation.
        """
        (encoded, _), *_ = self._encode_chunk([example])
        return encoded

    def encode_all(self, examples: Iterable[Example]) -> tuple[list[Encoded], Report]:
        """Encode many examples and count what became of them.

        Args:
            examples: What to encode.

        Returns:
            The encoded examples, in order and without the dropped ones, and the counts.

        Raises:
            InputError: Nothing is left, or as `encode`.
        """
        kept: list[Encoded] = []
        dropped: list[str] = []
        stream = iter(examples)
        while chunk := list(islice(stream, CHUNK)):
            for example, (encoded, needed) in zip(chunk, self._encode_chunk(chunk), strict=True):
                if encoded:
                    kept.append(encoded)
                else:
                    dropped.append(f"{example.id}: {needed} tokens even without its context")
        if not kept:
            why = f"; the first: {dropped[0]}" if dropped else ""
            raise InputError(
                f"no example is left with max_length {self.max_length} and template "
                f"{self.template!r}{why}: raise max_length or give shorter examples"
            )
        lengths = [len(one.prompt_ids) + len(one.target_ids) for one in kept]
        return kept, Report(
            kept=len(kept),
            truncated=sum(one.truncated > 0 for one in kept),
            dropped=len(dropped),
            first_dropped=tuple(dropped[:DROPPED_SHOWN]),
            mean_length=sum(lengths) / len(lengths),
            longest=max(lengths),
        )

    def label_ids(self, labels: Sequence[str]) -> list[list[int]]:
        """Tokenise label words just as targets are, but without EOS.

        Args:
            labels: The words.

        Returns:
            One list of ids per word.
        """
        return self._tokenize_targets(list(labels))

    def _encode_chunk(self, examples: Sequence[Example]) -> list[tuple[Encoded | None, int]]:
        """Encode examples; the number is the fewest tokens that each needs."""
        prompts = [render(self.template, example, self.tokenizer) for example in examples]
        tokens = self._splitter.prompts([prompt.text for prompt in prompts])
        targets = self._tokenize_targets([example.target for example in examples])
        return [self._fit(*parts) for parts in zip(examples, prompts, tokens, targets, strict=True)]

    def _fit(
        self, example: Example, prompt: Prompt, tokens: Tokens, target: list[int]
    ) -> tuple[Encoded | None, int]:
        removable = _inside(prompt.context, tokens.spans)
        excess = len(tokens.ids) + self._reserved(example, target) - self.max_length
        if excess > len(removable):
            return None, self.max_length + excess - len(removable)
        keep = len(removable) - max(excess, 0)
        # A character of several tokens goes as a whole: half of its bytes would be no text.
        while 0 < keep < len(removable) and _share_character(tokens.spans, removable, keep):
            keep -= 1
        cut = removable[keep:]
        ids = tokens.ids[: cut.start] + tokens.ids[cut.stop :] if cut else tokens.ids
        label = example.labels.index(example.target) if example.labels else -1
        return Encoded(ids, [*target, self._splitter.eos], example.id, label, len(cut)), 0

    def _reserved(self, example: Example, target: list[int]) -> int:
        """Tokens kept free for the target and EOS.

        With labels it is the longest of them: were it the target's own, the length of a shortened
        prompt would give the answer away.
        """
        if not example.labels:
            return len(target) + 1
        if example.labels not in self._label_ids:
            self._label_ids[example.labels] = self.label_ids(example.labels)
        return max(map(len, self._label_ids[example.labels])) + 1

    def _tokenize_targets(self, targets: list[str]) -> list[list[int]]:
        """A target that brings white space of its own (say, code) gets no gap in front."""
        gap = self._gap
        return self._splitter.continuations(
            [text if text[:1].isspace() else gap + text for text in targets]
        )


def _inside(context: tuple[int, int], spans: list[tuple[int, int]]) -> range:
    """Indices of the tokens that lie in the context, all of them and nothing else."""
    start, end = context
    found = [i for i, (a, b) in enumerate(spans) if start <= a < b <= end]
    return range(found[0], found[-1] + 1) if found else range(0)


def _share_character(spans: list[tuple[int, int]], removable: range, keep: int) -> bool:
    return spans[removable[keep - 1]][1] > spans[removable[keep]][0]
