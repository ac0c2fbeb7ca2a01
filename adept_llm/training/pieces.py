"""Micro-batches in pieces of bounded size: --tokens_per_batch.

Among rows with a long tail one micro-batch of many does not fit into memory. It alone is computed
in pieces, forward and backward of one after the other, and the step learns the same (INV 6). The
ranks cut what they compute at the same time into the same number of pieces, since sharded weights
are gathered by all of them at once.
"""

import heapq
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from adept_llm.errors import InputError


@dataclass(frozen=True)
class Pieces:
    """How a rank's share of an accumulation step is cut.

    Attributes:
        most: Tokens that a piece may hold as it is computed, see `packing.computed_tokens`; None
            for any number of them.
        virtual: m, the number of virtual tokens.
        packed: Whether rows are packed, or padded.
    """

    most: int | None = None
    virtual: int = 0
    packed: bool = True

    def check(self, lengths: Sequence[int], id_of: Callable[[int], str]) -> None:
        """Refuse a row that no piece can hold.

        Args:
            lengths: tokens of each row.
            id_of: the name of a row, by its place.

        Raises:
            InputError: naming the longest row.
        """
        if self.most is None or not lengths:
            return
        longest = max(range(len(lengths)), key=lengths.__getitem__)
        alone = self.virtual + _read(lengths[longest])
        if alone > self.most:
            raise InputError(
                f"tokens_per_batch: {id_of(longest)} has {alone:,} tokens, {self.virtual} virtual "
                f"ones among them, and {self.most:,} are allowed; give --tokens_per_batch {alone} "
                "or more, or a smaller --max_length"
            )

    def number(self, hands: Sequence[Sequence[int]], lengths: Sequence[int]) -> int:
        """Fewest pieces by which each of the shares can be cut.

        Args:
            hands: indices of examples, of each rank; below 0 those that stand in.
            lengths: tokens of each example by index, none longer than `check` allows.
        """
        return max(self._needed(_texts(hand, lengths)) for hand in hands)

    def cut(self, hand: Sequence[int], lengths: Sequence[int], number: int) -> list[list[int]]:
        """Pieces with about equal work, the largest first.

        Args:
            hand: indices of one rank's examples.
            lengths: tokens of each example by index.
            number: of pieces, at least what `number` tells; where there are fewer examples, an
                index -1 - i stands in for those that are missing.
        """
        if number == 1:
            return [list(hand)]
        texts, filled = _texts(hand, lengths), min(number, len(hand))
        places = evenly(texts, filled) if self.packed else neighbours(self._widths(texts), filled)
        stand_in = min(hand[0], -1 - hand[0])
        pieces = [[hand[place] for place in sorted(piece)] for piece in places]
        return pieces + [[stand_in]] * (number - filled)

    def _needed(self, texts: Sequence[int]) -> int:
        if self.most is None:
            return 1
        if not self.packed:
            return len(_runs(self._widths(texts), self.most))
        room = self.most - self.virtual
        number = max(1, -(-sum(texts) // room))
        while sum(texts[place] for place in evenly(texts, number)[0]) > room:
            number += 1
        return number

    def _widths(self, texts: Sequence[int]) -> list[int]:
        return [self.virtual + text for text in texts]


def evenly(weights: Sequence[int], number: int) -> list[list[int]]:
    """Places of weights, dealt out into so many hands of about equal weight, the fullest first.

    The heaviest goes first, always to the lightest hand (Graham's LPT rule), so that the fullest
    hand has at most one weight more than the emptiest. With one hand more the fullest is never
    fuller.
    """
    hands: list[list[int]] = [[] for _ in range(number)]
    lightest = [(0, n) for n in range(number)]
    for place in sorted(range(len(weights)), key=lambda place: -weights[place]):
        weight, hand = heapq.heappop(lightest)
        hands[hand].append(place)
        heapq.heappush(lightest, (weight + weights[place], hand))
    full = sorted(lightest, key=lambda one: (-one[0], one[1]))
    return [sorted(hands[hand]) for _, hand in full]


def neighbours(widths: Sequence[int], number: int) -> list[list[int]]:
    """Places of widths, cut into so many runs of like width, the largest first.

    A run is as large as its rows padded to the widest of them. Of all ways to cut the sorted widths
    this is one whose largest run is smallest.

    Args:
        widths: of rows.
        number: of runs, at most as many as there are rows.
    """
    widest = max(widths)
    sizes = range(widest, len(widths) * widest + 1)
    found = bisect_left(sizes, True, key=lambda most: len(_runs(widths, most)) <= number)
    runs = _runs(widths, sizes[found])

    def size(run: list[int]) -> int:
        return len(run) * widths[run[0]]

    while len(runs) < number:
        largest = max((run for run in runs if len(run) > 1), key=size)
        runs.remove(largest)
        half = len(largest) // 2
        runs += [largest[:half], largest[half:]]
    return sorted(runs, key=size, reverse=True)


def _runs(widths: Sequence[int], most: int) -> list[list[int]]:
    """Fewest runs of the sorted widths, none larger than `most` unless one row alone is."""
    runs: list[list[int]] = []
    for place in sorted(range(len(widths)), key=lambda place: -widths[place]):
        if not runs or (len(runs[-1]) + 1) * widths[runs[-1][0]] > most:
            runs.append([])
        runs[-1].append(place)
    return runs


def _texts(hand: Sequence[int], lengths: Sequence[int]) -> list[int]:
    return [_read(lengths[max(index, -1 - index)]) for index in hand]


def _read(length: int) -> int:
    # the last token is predicted and not read; each text counts, or a piece might be empty
    return max(1, length - 1)
