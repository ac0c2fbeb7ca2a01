"""Which examples each rank sees at each step, independent of how many ranks there are.

The order of an epoch depends on the seed, the epoch and the length of a bucket alone, and so does
its cut into global batches. A global batch is then dealt out to ranks and accumulation steps by the
tokens of its examples, so that no rank waits long for another; the last batch of an epoch may be
short, and is dealt out likewise, without repeating or dropping an example. So the losses do not
depend on the number of ranks (INV 6), and a resumed run finds its place by (seed, step) alone.
What a rank computes at a time may be cut into pieces, see `pieces`.
"""

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from adept_llm.data.stored import taken, token_counts
from adept_llm.packing import IGNORED, Batch, Batcher
from adept_llm.training.pieces import Pieces, evenly

WHOLE = Pieces()


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

    def deal(self, batch: Sequence[int], lengths: Sequence[int]) -> list[list[list[int]]]:
        """The examples of each rank in each accumulation step; a short batch leaves some empty.

        They are dealt out by tokens, see `evenly`.

        Args:
            batch: at most `global_batch` indices.
            lengths: tokens of each example by index.

        Returns:
            Indices by [step][rank].
        """
        hands = evenly([lengths[index] for index in batch], self.accumulation * self.world_size)
        # what the ranks compute at the same time is of like size, too
        full = [[batch[place] for place in hand] for hand in hands]
        return [full[n : n + self.world_size] for n in range(0, len(full), self.world_size)]


class GlobalBatches(Sampler[list[list[int]]]):
    """Batch sampler: micro-batches of one rank in pieces, `accumulation` for each global batch.

    Args:
        lengths: tokens of each example.
        shares: how a global batch is dealt out.
        seed: of the order.
        epoch: tells the current epoch, asked when iteration starts.
        bucket: so many examples in the drawn order are sorted, the longest first; 0 sorts none.
        pieces: how a micro-batch is cut; by default it is one piece.

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
        pieces: Pieces = WHOLE,
    ) -> None:
        self.size = len(lengths)
        self.shares = shares
        self.seed = seed
        self.epoch = epoch
        self.bucket = bucket
        self.lengths = lengths
        self.pieces = pieces

    def __len__(self) -> int:
        return -(-self.size // self.shares.global_batch) * self.shares.accumulation

    def __iter__(self) -> Iterator[list[list[int]]]:
        for hands in self.hands():
            number = self.pieces.number(hands, self.lengths)
            yield self.pieces.cut(hands[self.shares.rank], self.lengths, number)

    def hands(self) -> Iterator[list[list[int]]]:
        """What each rank computes in an accumulation step, of one such step after the other."""
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
            for hands in self.shares.deal(batch, self.lengths):
                # a rank without examples must still take part in the collectives
                yield [hand or [-1 - batch[0]] for hand in hands]


class StandIns(Sequence[Any]):
    """Training examples by pieces; an index -1 - i gives example i, marked to have no target."""

    def __init__(self, examples: Sequence[Any]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, piece: Any) -> Any:
        found = taken(self.examples, [max(index, -1 - index) for index in piece])
        return [(one, index >= 0) for one, index in zip(found, piece, strict=True)]


class Share(TypedDict):
    """What a rank computes in one accumulation step.

    Attributes:
        pieces: To be computed one after the other.
        labels: All of theirs, flat, for Trainer to count.
    """

    pieces: list[Batch]
    labels: Tensor


@dataclass(frozen=True)
class CollateStandIns:
    """A collator for items of `StandIns`: a stand-in has no labels, and counts for nothing."""

    collate: Batcher

    def __call__(self, items: Sequence[Sequence[tuple[Any, bool]]]) -> Share:
        """Collate each piece; a stand-in is always alone in its own."""
        pieces = [self._piece(piece) for piece in items]
        return {"pieces": pieces, "labels": torch.cat([one["labels"].flatten() for one in pieces])}

    def _piece(self, items: Sequence[tuple[Any, bool]]) -> Batch:
        batch = self.collate([example for example, _ in items])
        if not items[0][1]:
            batch["labels"] = torch.full_like(batch["labels"], IGNORED)
            batch["example_ids"], batch["num_text_tokens"] = [], 0
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
    pieces: Pieces = WHOLE,
) -> DataLoader[Any]:
    """A loader of this rank's `Share`s; its length is a multiple of the accumulation.

    Raises:
        InputError: for an example that no piece can hold.
    """
    lengths = token_counts(examples)
    pieces.check(lengths, lambda index: examples[index].id)
    return DataLoader(
        cast(Any, StandIns(examples)),
        batch_sampler=GlobalBatches(lengths, shares, seed, epoch, bucket, pieces),
        collate_fn=CollateStandIns(collate),
        num_workers=workers,
        pin_memory=pin_memory,
    )
