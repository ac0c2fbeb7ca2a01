"""What a run will compute, told by its rows and its arguments before a weight is read: --dry_run.

Rows are drawn and dealt out as in the run. Nothing is collated: a micro-batch of B texts behind m
virtual tokens has m + sum(len) tokens packed, B (m + max(len)) padded (see `packing/collator.py`),
where a text's last token, which is only predicted, does not count.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import mean, quantiles

from adept_llm.data import Encoded, token_counts
from adept_llm.training.sampling import GlobalBatches, Shares


@dataclass(frozen=True)
class Size:
    """Tokens of a micro-batch, or of a step.

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
        largest: Tokens of the largest micro-batches, each by itself.
    """

    lengths: tuple[int, ...]
    steps: int
    epoch: int
    rows_a_step: int
    looked_at: tuple[Size, ...]
    largest: Size

    @staticmethod
    def of(
        rows: Sequence[Encoded], shares: Shares, steps: int, virtual: int, seed: int, bucket: int
    ) -> "Plan":
        """Look at the steps of the first pass.

        Args:
            rows: to train on.
            shares: how a step's rows are dealt out; of whatever rank.
            steps: of the run.
            virtual: m, the number of virtual tokens.
            seed: of the order.
            bucket: see `GlobalBatches`.
        """
        lengths = token_counts(rows)
        of_ranks = []
        for rank in range(shares.world_size):
            mine = replace(shares, rank=rank)
            batches = GlobalBatches(lengths, mine, seed, lambda: 0, bucket)
            of_ranks.append([_size(virtual, lengths, batch) for batch in batches])
        epoch = len(of_ranks[0]) // shares.accumulation
        seen = range(min(epoch, steps))
        micro = [list(_of_step(of_ranks, step, shares.accumulation)) for step in seen]
        return Plan(
            lengths=tuple(sorted(lengths)),
            steps=steps,
            epoch=epoch,
            rows_a_step=min(shares.global_batch, len(rows)),
            looked_at=tuple(_sum(each) for each in micro),
            largest=_largest([one for each in micro for one in each]),
        )

    def percentile(self, share: int) -> int:
        """The length that so many percent of the rows do not exceed, from 1 to 99."""
        if len(self.lengths) == 1:
            return self.lengths[0]
        return round(quantiles(self.lengths, n=100, method="inclusive")[share - 1])

    def tokens(self, packed: bool) -> float:
        """Mean tokens of a step, computed in one way or the other."""
        return mean(one.packed if packed else one.padded for one in self.looked_at)

    @property
    def saved(self) -> float:
        """Share of the padded tokens that packing does not compute."""
        return 1 - self.tokens(packed=True) / self.tokens(packed=False)


def _size(virtual: int, lengths: Sequence[int], batch: Sequence[int]) -> Size:
    # an index below 0 stands in for a rank without rows
    # the last token of a text is predicted, and read by nobody
    texts = [lengths[max(index, -1 - index)] - 1 for index in batch]
    return Size(virtual + sum(texts), len(texts) * (virtual + max(texts)))


def _of_step(ranks: Sequence[Sequence[Size]], step: int, accumulation: int) -> Iterator[Size]:
    for of_rank in ranks:
        yield from of_rank[step * accumulation : (step + 1) * accumulation]


def _sum(sizes: Sequence[Size]) -> Size:
    return Size(sum(one.packed for one in sizes), sum(one.padded for one in sizes))


def _largest(sizes: Sequence[Size]) -> Size:
    return Size(max(one.packed for one in sizes), max(one.padded for one in sizes))
