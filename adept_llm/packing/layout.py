"""Which token of a packed row sees which: segments that share ancestors.

A micro-batch of one prompt P and texts x_1..x_B is one row [P | x_1 | x_2 | ..]: P has no parent,
each x_i has parent P. A segment attends causally to itself and wholly to its ancestors. Segments
may nest (label words behind a text behind P), and several prefixes may stand in one row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class PackedLayout:
    """Segments of a packed row, in row order; row length T is the sum of the lengths.

    Attributes:
        lengths: Tokens of each segment; 0 is allowed.
        parents: Index of each segment's parent, which stands before it; -1 for none.
    """

    lengths: tuple[int, ...]
    parents: tuple[int, ...]
    _plans: dict[object, object] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.lengths) != len(self.parents) or min(self.lengths, default=0) < 0:
            raise ValueError("a layout needs one length >= 0 and one parent per segment")
        if any(not -1 <= parent < i for i, parent in enumerate(self.parents)):
            raise ValueError("a segment's parent stands before it")

    @classmethod
    def shared_prefix(cls, prefix_length: int, lengths: Sequence[int]) -> "PackedLayout":
        """[P | x_1 | .. | x_B] with lengths m and len(x_i); m may be 0."""
        return cls((prefix_length, *lengths), (-1,) + (0,) * len(lengths))

    @classmethod
    def side_by_side(cls, layouts: Sequence["PackedLayout"]) -> "PackedLayout":
        """One row of several, none of which sees another."""
        lengths: list[int] = []
        parents: list[int] = []
        for layout in layouts:
            parents += [-1 if parent < 0 else parent + len(lengths) for parent in layout.parents]
            lengths += layout.lengths
        return cls(tuple(lengths), tuple(parents))

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Place of each segment's first token in the row."""
        ends = torch.tensor(self.lengths).cumsum(0).tolist() if self.lengths else []
        return tuple(end - length for end, length in zip(ends, self.lengths, strict=True))

    @cached_property
    def ancestors(self) -> tuple[tuple[int, ...], ...]:
        """Ancestors of each segment, the outermost first."""
        chains: list[tuple[int, ...]] = []
        for parent in self.parents:
            chains.append(() if parent < 0 else (*chains[parent], parent))
        return tuple(chains)

    @cached_property
    def context_lengths(self) -> tuple[int, ...]:
        """Tokens in all ancestors of each segment, hence the position of its first token."""
        return tuple(sum(self.lengths[a] for a in chain) for chain in self.ancestors)

    @property
    def longest(self) -> int:
        """Length of the longest segment with its ancestors: what the model's context must hold."""
        return max(map(sum, zip(self.context_lengths, self.lengths, strict=True)), default=0)

    def position_ids(self) -> Tensor:
        """Position of each token in its own sequence, [1, T]."""
        spans = zip(self.context_lengths, self.lengths, strict=True)
        pieces = [torch.arange(first, first + length) for first, length in spans]
        return torch.cat(pieces or [torch.empty(0, dtype=torch.long)])[None]

    def segment_tokens(self, index: int) -> Tensor:
        """Row indices of a segment's tokens."""
        return torch.arange(self.starts[index], self.starts[index] + self.lengths[index])

    def ancestor_tokens(self, index: int) -> Tensor:
        """Row indices of the tokens of a segment's ancestors, in order."""
        pieces = [self.segment_tokens(a) for a in self.ancestors[index]]
        return torch.cat(pieces or [torch.empty(0, dtype=torch.long)])

    def plan(self, kind: type, device: torch.device) -> object:
        """Index tensors for a kernel, built once per layout, kind of kernel and device."""
        key = (kind, device)
        if key not in self._plans:
            self._plans[key] = kind(self, device)
        return self._plans[key]
