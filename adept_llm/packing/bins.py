"""Texts behind a prefix in bins of nearly one length, for `dense_prefix` to compute at once."""

from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from adept_llm.packing.layout import PackedLayout

# A bin is at most so many times as long as the texts in it; shorter ones have bins of their own. A
# group of bins costs some 50 operations a layer whatever its size, hence few groups.
LONGEST_BIN = 8


class Group(NamedTuple):
    """Bins of like length that are computed at once.

    Attributes:
        prefix: Tokens in a stretch of the row that all see; 0 for none.
        start: Place of its first token.
        own: Row indices [n, L] of the bins' tokens, padded by 0.
        bias: [n, L, 1, L], 0 where a token sees another of its bin, else -inf.
        padding: Indices of own's places that are padding, or None.
    """

    prefix: int
    start: int
    own: Tensor
    bias: Tensor
    padding: Tensor | None


class Part(NamedTuple):
    """The texts behind a prefix whose bins are of like length: a group that is yet to be made.

    Attributes:
        prefix: As in `Group`.
        start: Likewise.
        bins: Segments of each bin.
    """

    prefix: int
    start: int
    bins: list[list[int]]


class DensePlan:
    """Prefixes, and the texts behind each of them in groups of bins.

    A prefix is a segment that stands behind no other. A text is a segment right behind it with all
    that stands behind that: its labels. The prefixes on themselves are texts behind an empty one.
    `weights` and `keys` tell how many of each a key head has; the tensors are made when they are
    needed, since a layout that is too large for them asks for the numbers alone.
    """

    def __init__(self, layout: PackedLayout, device: torch.device) -> None:
        self._layout, self._device = layout, device
        roots = [i for i, parent in enumerate(layout.parents) if parent < 0]
        behind: dict[int, dict[int, list[int]]] = {root: {} for root in roots}
        for i, chain in enumerate(layout.ancestors):
            if chain and layout.lengths[i]:
                behind[chain[0]].setdefault((*chain, i)[1], []).append(i)
        alone = [[root] for root in roots if layout.lengths[root]]
        self._parts = [Part(0, 0, bins) for bins in _in_bins(layout, alone)]
        for root, texts in behind.items():
            prefix = (layout.lengths[root], layout.starts[root])
            self._parts += [Part(*prefix, bins) for bins in _in_bins(layout, list(texts.values()))]
        sizes = [(part.prefix, len(part.bins), _length(layout, part)) for part in self._parts]
        self.weights = sum(n * length * (m + length) for m, n, length in sizes)
        self.keys = sum(n * (m + length) for m, n, length in sizes)

    @cached_property
    def groups(self) -> list[Group]:
        """What is computed at once."""
        sees, device, groups = _sees(self._layout), self._device, []
        for m, start, bins in self._parts:
            own, segments = _places(self._layout, bins)
            padded = (segments == len(self._layout.lengths)).flatten().nonzero()[:, 0]
            seen = sees[segments[:, :, None], segments[:, None]].tril()  # [n, L, L]
            bias = torch.zeros(seen.shape).masked_fill_(~seen, -torch.inf)[:, :, None]
            padding = padded.to(device) if len(padded) else None
            groups.append(Group(m, start, own.to(device), bias.to(device), padding))
        return groups

    @cached_property
    def back(self) -> Tensor:
        """Where each token of the row stands among the groups' places, [T]."""
        places = [_places(self._layout, part.bins) for part in self._parts]
        own, segments = (torch.cat([each[n].flatten() for each in places]) for n in (0, 1))
        filled = segments < len(self._layout.lengths)
        back = torch.empty(sum(self._layout.lengths), dtype=torch.long)
        back[own[filled]] = filled.nonzero()[:, 0]
        return back.to(self._device)


def _length(layout: PackedLayout, part: Part) -> int:
    """Of the longest bin of a part."""
    return max(sum(layout.lengths[i] for i in each) for each in part.bins)


def _in_bins(layout: PackedLayout, texts: list[list[int]]) -> list[list[list[int]]]:
    """Texts put together into bins, as long as the longest text; the bins in groups of one size."""
    groups: list[list[list[int]]] = []
    room: list[int] = []  # in each bin of the last group
    size = 0
    for text in sorted(texts, key=lambda t: -sum(layout.lengths[i] for i in t)):
        length = sum(layout.lengths[i] for i in text)
        if not groups or length * LONGEST_BIN < size:
            groups.append([])
            room, size = [], length
        fitting = next((n for n, left in enumerate(room) if left >= length), None)
        if fitting is None:
            groups[-1].append(list(text))
            room.append(size - length)
        else:
            groups[-1][fitting] += text
            room[fitting] -= length
    return groups


def _places(layout: PackedLayout, bins: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Row indices [n, L] of bins of segments, padded by 0, and whose each is, [n, L].

    Padding belongs to a segment of its own behind the last.
    """
    nobody = len(layout.lengths)
    rows = [torch.cat([layout.segment_tokens(i) for i in each]) for each in bins]
    lengths = [torch.tensor([layout.lengths[i] for i in each]) for each in bins]
    owners = [torch.tensor(e).repeat_interleave(n) for e, n in zip(bins, lengths, strict=True)]
    return (
        pad_sequence(rows, batch_first=True),
        pad_sequence(owners, batch_first=True, padding_value=nobody),
    )


def _sees(layout: PackedLayout) -> Tensor:
    """Which segment sees which, [S + 1, S + 1]; the last stands for padding, which sees itself."""
    sees = torch.eye(len(layout.lengths) + 1, dtype=torch.bool)
    for i, chain in enumerate(layout.ancestors):
        sees[i, list(chain)] = True
    return sees
