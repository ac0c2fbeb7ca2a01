"""Whether the user's own answers are labels or free text, and what is told of it."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from adept_llm.data.example import Example
from adept_llm.errors import InputError

MOST_LABELS = 20
LEAST_SHARE = 0.9  # of rows with frequent answers: the others are then pointed at
SHOWN = 3
AROUND = " \t\r\n.,;:!?\"'()[]"


def label_set(examples: Iterable[Example]) -> tuple[str, ...]:
    """Find the labels if the targets look like those of a classification.

    They do if there are 2 to 20 distinct ones and each occurs at least twice, where spellings that
    differ in case, white space or punctuation alone count as one.

    Args:
        examples: The training examples.

    Returns:
        The distinct targets, sorted; () for free text.

    Raises:
        InputError: A label has several spellings.
    """
    rows = list(examples)
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        spellings[_plain(row.target)][row.target] += 1
    if not 2 <= len(spellings) <= MOST_LABELS or min(map(_rows, spellings.values())) < 2:
        return ()
    usual = {plain: each.most_common(1)[0][0] for plain, each in spellings.items()}
    odd = [row for row in rows if row.target != usual[_plain(row.target)]]
    if odd:
        raise InputError(_several_spellings(rows, odd, usual))
    return tuple(sorted(usual.values()))


def describe_answers(examples: Sequence[Example]) -> str:
    """What the answers are taken for, in one line for the log.

    Returns:
        Such as '2 labels: bad 20, good 19', or that they are free text, and which few rows keep
        them from being labels.
    """
    counts = Counter(example.target for example in examples)
    labels = examples[0].labels
    if any(example.labels != labels for example in examples):
        return "labels that differ from row to row"
    if labels:
        return f"{len(labels)} labels: {_list(labels, counts)}"
    line = f"free text: {len(counts)} different answers in {len(examples)} rows"
    frequent = sorted(text for text, count in counts.items() if count > 1)
    rare = [example for example in examples if counts[example.target] == 1]
    few = len(rare) <= (1 - LEAST_SHARE) * len(examples)
    if rare and few and 2 <= len(frequent) <= MOST_LABELS:
        line += (
            f"; they would be {len(frequent)} labels ({_list(frequent, counts)}) but for "
            f"{_places(rare)}: correct or remove what is a mistake there"
        )
    return line


def _several_spellings(rows: Sequence[Example], odd: list[Example], usual: dict[str, str]) -> str:
    counts = Counter(row.target for row in rows)
    right = usual[_plain(odd[0].target)]
    return (
        f"{len(usual)} labels: {_list(sorted(usual.values()), counts)}; {_places(odd)} "
        f"{'differs' if len(odd) == 1 else 'differ'} in case, white space or punctuation alone: "
        f"write {right!r} for {odd[0].target!r}, or another word if it is another label"
    )


def _list(labels: Iterable[str], counts: Counter[str]) -> str:
    return ", ".join(f"{_word(label)} {counts[label]}" for label in labels)


def _places(rows: Sequence[Example]) -> str:
    """Such as "1 row 'Good' (train.jsonl:7)"."""
    shown = ", ".join(f"{row.target!r} ({row.id})" for row in rows[:SHOWN])
    more = ", .." if len(rows) > SHOWN else ""
    return f"{len(rows)} row{'s' if len(rows) > 1 else ''} {shown}{more}"


def _word(label: str) -> str:
    return label if label.isprintable() and label == label.strip() else repr(label)


def _plain(target: str) -> str:
    """A target without case, and without white space and punctuation that change no label.

    Punctuation within a word stays, and marks that are the whole label: 'C', 'C++' and 'C#', or
    '+' and '-', are different labels.
    """
    bare = re.sub(r"(?<=\w)[\s_-]+(?=\w)", " ", target.casefold())
    return bare.strip(AROUND) or target.strip()


def _rows(spellings: Counter[str]) -> int:
    return sum(spellings.values())
