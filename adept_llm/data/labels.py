"""Whether the user's own answers are labels or free text, and what is told of it."""

import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING
from unicodedata import category, is_normalized, normalize

from adept_llm.data.example import Example
from adept_llm.errors import InputError

if TYPE_CHECKING:
    import numpy as np

MOST_LABELS = 20
LEAST_SHARE = 0.9  # of rows with frequent answers: the others are then pointed at
SHOWN = 3
AROUND = " .,;:!?\"'()[]"


def label_set(examples: Iterable[Example]) -> tuple[str, ...]:
    """Find the labels if the targets look like those of a classification.

    They do if there are 2 to 20 distinct ones and each occurs at least twice, where spellings that
    differ in case, white space, punctuation or what is not seen alone count as one.

    Args:
        examples: The training examples.

    Returns:
        The distinct targets, sorted; () for free text.

    Raises:
        InputError: A label has several spellings.
    """
    words: dict[str, str] = {}  # each spelling, and what it is a spelling of
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    places: dict[str, list[tuple[int, Example]]] = defaultdict(list)
    for number, row in enumerate(examples):
        if row.target not in words:
            words[row.target] = _plain(row.target)
        counts[words[row.target]][row.target] += 1
        if len(counts) > MOST_LABELS:
            return ()
        if len(places[row.target]) < SHOWN:
            places[row.target].append((number, row))
    if len(counts) < 2 or min(each.total() for each in counts.values()) < 2:
        return ()
    usual = {word: each.most_common(1)[0][0] for word, each in counts.items()}
    odd = [spelling for spelling, word in words.items() if spelling != usual[word]]
    if odd:
        every = sum(counts.values(), Counter[str]())
        shown = sorted((place for one in odd for place in places[one]), key=lambda place: place[0])
        rows, total = [row for _, row in shown], sum(every[one] for one in odd)
        right = usual[words[rows[0].target]]
        raise InputError(
            f"{len(usual)} labels: {_list(sorted(usual.values()), every)}; {_places(rows, total)} "
            f"{'differs' if total == 1 else 'differ'} in case, white space, punctuation or "
            f"the writing of an accent alone: write {_quoted(right)} for "
            f"{_quoted(rows[0].target)}, or another word if it is another label"
        )
    return tuple(sorted(usual.values()))


class Answers:
    """The answers of many examples, counted by a hash of 8 bytes each.

    Attributes:
        labels: Those of the first example.
        alike: Whether all examples have the same ones.
        hashes: Of the answers, in the order of the examples.
    """

    def __init__(self, examples: Iterable[Example] = ()) -> None:
        """Count the answers of a part."""
        rows = list(examples)
        self.labels = rows[0].labels if rows else ()
        self.alike = all(row.labels == self.labels for row in rows)
        hashes = (blake2b(row.target.encode(), digest_size=8).digest() for row in rows)
        self.hashes = array("Q", b"".join(hashes))

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.hashes)

    def add(self, other: "Answers") -> None:
        """Count those of the next part."""
        if not len(other):
            return
        self.alike = self.alike and other.alike and (not self or self.labels == other.labels)
        self.labels = self.labels if self else other.labels
        self.hashes.extend(other.hashes)

    def describe(self, example: Callable[[int], Example]) -> str:
        """What they are taken for, see `describe_answers`.

        Args:
            example: Gives one of the examples by its number.
        """
        if not self.alike:
            return "labels that differ from row to row"
        import numpy as np  # not where a task is declared: `import adept_llm` is quick

        hashes = np.frombuffer(self.hashes, dtype=np.uint64)
        _, first, counts = np.unique(hashes, return_index=True, return_counts=True)

        def named(which: "np.ndarray") -> Counter[str]:
            pairs = zip(first[which].tolist(), counts[which].tolist(), strict=True)
            return Counter({example(number).target: count for number, count in pairs})

        if self.labels:
            return f"{len(self.labels)} labels: {_list(self.labels, named(counts > 0))}"
        line = f"free text: {len(counts)} different answers in {len(self)} rows"
        rare = np.sort(first[counts == 1]).tolist()
        few = len(rare) <= (1 - LEAST_SHARE) * len(self)
        if rare and few and 2 <= len(counts) - len(rare) <= MOST_LABELS:
            frequent = named(counts > 1)
            places = _places([example(number) for number in rare[:SHOWN]], len(rare))
            line += (
                f"; they would be {len(frequent)} labels ({_list(sorted(frequent), frequent)}) but "
                f"for {places}: correct or remove what is a mistake there"
            )
        return line


def describe_answers(examples: Sequence[Example]) -> str:
    """What the answers are taken for, in one line for the log.

    Returns:
        Such as '2 labels: bad 20, good 19', or that they are free text, and which few rows keep
        them from being labels.
    """
    return Answers(examples).describe(lambda number: examples[number])


def _list(labels: Iterable[str], counts: Counter[str]) -> str:
    return ", ".join(f"{_word(label)} {counts[label]}" for label in labels)


def _places(shown: Sequence[Example], total: int) -> str:
    """Such as "1 row 'Good' (train.jsonl:7)"; of the first few rows of so many."""
    named = ", ".join(f"{_quoted(row.target)} ({row.id})" for row in shown[:SHOWN])
    more = ", .." if total > SHOWN else ""
    return f"{total} row{'s' if total > 1 else ''} {named}{more}"


def _quoted(label: str) -> str:
    """As Python writes it; by its codes where an accent could stand in another way."""
    return repr(label) if is_normalized("NFC", label) else ascii(label)


def _word(label: str) -> str:
    return label if label.isprintable() and label == label.strip() else repr(label)


def _plain(target: str) -> str:
    """A target without case, and without white space and punctuation that change no label.

    Punctuation within a word stays, and marks that are the whole label: 'C', 'C++' and 'C#', or
    '+' and '-', are different labels. An accent may stand behind its letter or in it; what is not
    seen, such as a zero-width space, is nothing. NFKC would go too far: x2 and x² look different.
    """
    letters = normalize("NFC", target.casefold())
    seen = "".join(" " if one.isspace() else one for one in letters if category(one) != "Cf")
    bare = re.sub(r"(?<=\w)[ _-]+(?=\w)", " ", seen)
    return bare.strip(AROUND) or seen.strip() or target
