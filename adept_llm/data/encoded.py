"""An example as token ids, and what became of many of them."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from adept_llm.data.templates import Span


@dataclass(frozen=True, slots=True)
class Encoded:
    """An example as token ids, without virtual tokens.

    Attributes:
        prompt_ids: BOS if the tokenizer is in the habit of adding one, then the prompt.
        target_ids: The target and EOS. To train on more than the target (see `Encoder.loss_on`),
            all that stands behind the last token in front of the first one that is learnt.
        id: The example's id.
        label: Index of the target in the example's labels; -1 for free text.
        truncated: Number of tokens by which the prompt is shorter than with its whole context.
        passed_over: Spans of `target_ids` that the loss leaves out: what a user says in between.
    """

    prompt_ids: list[int]
    target_ids: list[int]
    id: str
    label: int
    truncated: int
    passed_over: tuple[Span, ...] = ()

    def content(self) -> bytes:
        """What of it goes into a fingerprint: all that is learnt."""
        left_out = [place for span in self.passed_over for place in span]
        prompt, target = self.prompt_ids, self.target_ids
        lengths = len(prompt), len(target), len(left_out)
        numbers = [lengths[0], *prompt, lengths[1], *target, lengths[2], *left_out]
        return array("q", numbers).tobytes()


@dataclass(frozen=True)
class Report:
    """What became of a set of examples; `str` gives one line for the log.

    Attributes:
        kept: Number of encoded examples, shortened ones included.
        truncated: Number of examples whose context was shortened or is read in windows.
        dropped: Number of examples that do not fit even without their context.
        first_dropped: 'id: reason' of the first few of them.
        mean_length: Mean number of tokens of prompt and target of the encoded sequences.
        longest: Largest such number.
        windows: Number of encoded sequences: that of the kept examples, or more.
    """

    kept: int
    truncated: int
    dropped: int
    first_dropped: tuple[str, ...]
    mean_length: float
    longest: int
    windows: int

    def __str__(self) -> str:
        """Say it in one line."""
        windows = f" in {self.windows} windows" if self.windows > self.kept else ""
        line = (
            f"{self.kept} examples{windows} of {self.mean_length:.1f} tokens on average, "
            f"{self.longest} at most; {self.truncated} shortened, {self.dropped} dropped"
        )
        return f"{line} ({'; '.join(self.first_dropped)})" if self.dropped else line


DROPPED_SHOWN = 5


@dataclass
class Tally:
    """Counts what becomes of examples, for their `Report`."""

    kept: int = 0
    truncated: int = 0
    windows: int = 0
    tokens: int = 0
    longest: int = 0
    dropped: int = 0
    first_dropped: list[str] = field(default_factory=list)

    def count(self, name: str, found: "Sequence[Encoded | str]") -> list[Encoded]:
        """The sequences of one example, counted; none where it is dropped.

        Args:
            name: The example's id.
            found: Its sequences, or why there is none.
        """
        kept = [one for one in found if isinstance(one, Encoded)]
        lengths = [len(one.prompt_ids) + len(one.target_ids) for one in kept]
        self.kept += bool(kept)
        self.truncated += bool(kept) and kept[0].truncated > 0
        self.windows += len(kept)
        self.tokens += sum(lengths)
        self.longest = max([self.longest, *lengths])
        reasons = [f"{name}: {one}" for one in found if isinstance(one, str)]
        self.dropped += len(reasons)
        self.first_dropped += reasons[: DROPPED_SHOWN - len(self.first_dropped)]
        return kept

    def add(self, other: "Tally") -> None:
        """Count those of the next part."""
        for name in ("kept", "truncated", "windows", "tokens", "dropped"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.longest = max(self.longest, other.longest)
        self.first_dropped += other.first_dropped[: DROPPED_SHOWN - len(self.first_dropped)]

    def report(self) -> Report:
        """Of at least one kept example."""
        return Report(
            kept=self.kept,
            truncated=self.truncated,
            dropped=self.dropped,
            first_dropped=tuple(self.first_dropped),
            mean_length=self.tokens / self.windows,
            longest=self.longest,
            windows=self.windows,
        )
