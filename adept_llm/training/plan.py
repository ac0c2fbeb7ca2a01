"""What a run will compute, told by its rows and its arguments before a weight is read: --dry_run.

Rows are drawn, dealt out and cut into pieces as in the run. Nothing is collated: what a piece holds
follows from the lengths of its rows (see `packing.computed_tokens`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import mean, quantiles

from adept_llm.data import Encoded, token_counts
from adept_llm.packing import computed_tokens
from adept_llm.training.pieces import Pieces
from adept_llm.training.sampling import GlobalBatches, Shares


@dataclass(frozen=True)
class Size:
    """Tokens of a piece or of a step, or the number of pieces.

    Attributes:
        packed: With the virtual tokens once.
        padded: With them in front of each text, and padding to the longest.
    """

    packed: int
    padded: int


@dataclass(frozen=True)
class Plan:
    """A run's steps.

    Attributes:
        lengths: Tokens of each row's prompt and target, ascending.
        steps: Optimizer steps of the run.
        epoch: Steps of one pass over the rows.
        rows_a_step: Rows of a full step, on all ranks.
        looked_at: The steps that were looked at: the first pass, or less where the run is shorter.
        largest: Tokens of the largest pieces, each by itself: micro-batches, where none is cut.
        pieces: Into how many pieces the micro-batches are cut, by accumulation step.
    """

    lengths: tuple[int, ...]
    steps: int
    epoch: int
    rows_a_step: int
    looked_at: tuple[Size, ...]
    largest: Size
    pieces: tuple[Size, ...]

    @staticmethod
    def of(
        rows: Sequence[Encoded],
        shares: Shares,
        steps: int,
        virtual: int,
        seed: int,
        bucket: int,
        most: int | None = None,
    ) -> "Plan":
        """Look at the steps of the first pass.

        Args:
            rows: to train on.
            shares: how a step's rows are dealt out; of whatever rank.
            steps: of the run.
            virtual: m, the number of virtual tokens.
            seed: of the order.
            bucket: see `GlobalBatches`.
            most: tokens of a piece, see `Pieces`.
        """
        lengths = token_counts(rows)
        batches = GlobalBatches(lengths, shares, seed, lambda: 0, bucket)
        epoch = len(batches) // shares.accumulation
        seen = islice(batches.hands(), min(epoch, steps) * shares.accumulation)
        packed, padded = Pieces(most, virtual), Pieces(most, virtual, packed=False)
        found = [(_sizes(packed, hands, lengths), _sizes(padded, hands, lengths)) for hands in seen]
        by_step = [
            found[n : n + shares.accumulation] for n in range(0, len(found), shares.accumulation)
        ]
        return Plan(
            lengths=tuple(sorted(lengths)),
            steps=steps,
            epoch=epoch,
            rows_a_step=min(shares.global_batch, len(rows)),
            looked_at=tuple(
                Size(sum(sum(one) for one, _ in step), sum(sum(one) for _, one in step))
                for step in by_step
            ),
            largest=Size(max(max(one) for one, _ in found), max(max(one) for _, one in found)),
            pieces=tuple(
                Size(len(one) // shares.world_size, len(other) // shares.world_size)
                for one, other in found
            ),
        )

    def percentile(self, share: int) -> int:
        """The length that so many percent of the rows do not exceed, from 1 to 99."""
        if len(self.lengths) == 1:
            return self.lengths[0]
        return round(quantiles(self.lengths, n=100, method="inclusive")[share - 1])

    def tokens(self, packed: bool) -> float:
        """Mean tokens of a step, computed in one way or the other."""
        return mean(one.packed if packed else one.padded for one in self.looked_at)

    def number_of_pieces(self, packed: bool) -> list[int]:
        """Those of each micro-batch, computed in one way or the other."""
        return [one.packed if packed else one.padded for one in self.pieces]

    @property
    def saved(self) -> float:
        """Share of the padded tokens that packing does not compute."""
        return 1 - self.tokens(packed=True) / self.tokens(packed=False)


def _sizes(pieces: Pieces, hands: Sequence[Sequence[int]], lengths: Sequence[int]) -> list[int]:
    """Tokens of each piece of what the ranks compute in one accumulation step."""
    number = pieces.number(hands, lengths)
    cut = [piece for hand in hands for piece in pieces.cut(hand, lengths, number)]
    # an index below 0 stands in; the last token of a text is predicted, and read by nobody
    texts = [[lengths[max(index, -1 - index)] - 1 for index in piece] for piece in cut]
    return [computed_tokens(pieces.virtual, each, pieces.packed) for each in texts]
