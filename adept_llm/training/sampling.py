"""Which examples each rank sees at each step, independent of how many ranks there are.

The order of an epoch depends on the seed, the epoch and the length of a bucket alone, and so does
its cut into global batches. A global batch is then dealt out to ranks and accumulation steps by the
tokens of its examples, so that no rank waits long for another; the last batch of an epoch may be
short, and is dealt out likewise, without repeating or dropping an example. So the losses do not
depend on the number of ranks (INV 6), and a resumed run finds its place by (seed, step) alone.
"""

import heapq
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.utils.data import DataLoader, Sampler

from adept_llm.data.stored import taken, token_counts
from adept_llm.packing import IGNORED, Batch, Batcher


@dataclass(frozen=True)
class Shares:
    """How a global batch is dealt out.

    Attributes:
        batch_size: Examples of one rank in one accumulation step.
        accumulation: Accumulation steps of an optimizer step.
        world_size: Number of ranks.
        rank: This one.
    """

    batch_size: int
    accumulation: int = 1
    world_size: int = 1
    rank: int = 0

    @property
    def global_batch(self) -> int:
        """Examples of one optimizer step on all ranks."""
        return self.batch_size * self.accumulation * self.world_size

    def deal(self, batch: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
        """This rank's micro-batches of a global batch; a short batch may leave some of them empty.

        The longest example goes first, always to the hand with the fewest tokens (Graham's LPT
        rule), so that the fullest hand has at most one example more than the emptiest.

        Args:
            batch: at most `global_batch` indices.
            lengths: tokens of each example by index.
        """
        hands: list[list[int]] = [[] for _ in range(self.accumulation * self.world_size)]
        if len(hands) == 1:
            return [list(batch)]
        lightest = [(0, n) for n in range(len(hands))]
        for place in sorted(range(len(batch)), key=lambda place: -lengths[batch[place]]):
            tokens, hand = heapq.heappop(lightest)
            hands[hand].append(place)
            heapq.heappush(lightest, (tokens + lengths[batch[place]], hand))
        # what the ranks compute at the same time is of like size, too
        full = [hand for _, hand in sorted(lightest, key=lambda one: (-one[0], one[1]))]
        mine = [full[step * self.world_size + self.rank] for step in range(self.accumulation)]
        return [[batch[place] for place in sorted(hands[hand])] for hand in mine]


class GlobalBatches(Sampler[list[int]]):
    """Batch sampler: micro-batches of one rank, `accumulation` of them for each global batch.

    Args:
        lengths: tokens of each example.
        shares: how a global batch is dealt out.
        seed: of the order.
        epoch: tells the current epoch, asked when iteration starts.
        bucket: so many examples in the drawn order are sorted, the longest first; 0 sorts none.

    Sorted buckets are what PEFT's comparison of methods trains on (its `BucketIterator`). Without
    padding they save nothing, but they change what is in a batch: where the loss is the mean of a
    batch's tokens, those of a short example weigh more among short ones.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        shares: Shares,
        seed: int,
        epoch: Callable[[], int],
        bucket: int = 0,
    ) -> None:
        self.size = len(lengths)
        self.shares = shares
        self.seed = seed
        self.epoch = epoch
        self.bucket = bucket
        self.lengths = lengths

    def __len__(self) -> int:
        return -(-self.size // self.shares.global_batch) * self.shares.accumulation

    def __iter__(self) -> Iterator[list[int]]:
        # a generator of its own: neither ranks nor a resumed run can drift apart
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch())
        # an array: a list of a million numbers takes 40 MB
        order = array("q", torch.randperm(self.size, generator=generator).numpy().tobytes())
        for start in range(0, self.size, self.bucket) if self.bucket else ():
            drawn = order[start : start + self.bucket]
            longest_first = sorted(drawn, key=lambda n: -self.lengths[n])
            order[start : start + self.bucket] = array("q", longest_first)
        for start in range(0, self.size, self.shares.global_batch):
            batch = order[start : start + self.shares.global_batch]
            for hand in self.shares.deal(batch, self.lengths):
                # a rank without examples must still take part in the collectives
                yield hand or [-1 - batch[0]]


class StandIns(Sequence[Any]):
    """Training examples; a negative index -1 - i gives example i, marked to have no target."""

    def __init__(self, examples: Sequence[Any]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: Any) -> Any:
        return (self.examples[max(index, -1 - index)], index >= 0)

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Those of a batch; the loader asks for them at once."""
        found = taken(self.examples, [max(index, -1 - index) for index in indices])
        return [(one, index >= 0) for one, index in zip(found, indices, strict=True)]


@dataclass(frozen=True)
class CollateStandIns:
    """A collator for items of `StandIns`: the labels of a stand-in are all ignored."""

    collate: Batcher

    def __call__(self, items: Sequence[tuple[Any, bool]]) -> Batch:
        """Collate; a stand-in is always alone in its batch."""
        batch = self.collate([example for example, _ in items])
        if not items[0][1]:
            batch["labels"] = torch.full_like(batch["labels"], IGNORED)
        return batch


def training_loader(
    examples: Sequence[Any],
    collate: Batcher,
    shares: Shares,
    seed: int,
    epoch: Callable[[], int],
    workers: int = 0,
    pin_memory: bool = False,
    bucket: int = 0,
) -> DataLoader[Any]:
    """A loader of this rank's micro-batches; its length is a multiple of the accumulation."""
    lengths = token_counts(examples)
    return DataLoader(
        cast(Any, StandIns(examples)),
        batch_sampler=GlobalBatches(lengths, shares, seed, epoch, bucket),
        collate_fn=CollateStandIns(collate),
        num_workers=workers,
        pin_memory=pin_memory,
    )
