"""Which rows are for training, validation and test: the papers' protocol, row for row.

Most test labels of the benchmarks are secret, so DePT and ADePT (after ATTEMPT and Compacter) make
a third labelled split of two: small tasks halve their validation rows, large ones hold back 1,000
training rows and test on all validation rows. Which rows go where is a permutation by torch's
generator with seed 42, as in the papers' code.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from random import Random
from typing import NamedTuple

from adept_llm.errors import InputError
from adept_llm.tasks.example import Example

SEED = 42
HELD_OUT = 1000


class Part(NamedTuple):
    """A part of one of the hub's splits.

    Attributes:
        split: The hub's name for the split.
        share: 'all', 'first half', 'second half', 'held out' or 'rest'.
    """

    split: str
    share: str = "all"

    def indices(self, total: int) -> list[int]:
        """The rows of the part, in their order.

        Of a train split below 5,000 rows (a sub-sample for a trial) a fifth is held out.

        Args:
            total: Number of rows of the hub's split.
        """
        if self.share == "all":
            return list(range(total))
        import torch  # not when a task is declared: `import adept_llm` is quick

        order = torch.randperm(total, generator=torch.Generator().manual_seed(SEED)).tolist()
        cut = total // 2 if "half" in self.share else min(HELD_OUT, total // 5)
        first = self.share in ("first half", "held out")
        return sorted(order[:cut] if first else order[cut:])

    def __str__(self) -> str:
        """Such as 'validation (first half)'."""
        return self.split if self.share == "all" else f"{self.split} ({self.share})"


NATIVE = {name: Part(name) for name in ("train", "validation", "test")}
SMALL = {
    "train": Part("train"),
    "validation": Part("validation", "first half"),
    "test": Part("validation", "second half"),
}
LARGE = {
    "train": Part("train", "rest"),
    "validation": Part("train", "held out"),
    "test": Part("validation"),
}
NO_VALIDATION = LARGE | {"test": Part("test")}

Splits = Mapping[str, Part]


def sample(total: int, limit: int | None, seed: int) -> list[int]:
    """A random sample of at most `limit` of so many rows, in their order.

    Raises:
        InputError: The limit is below 1.
    """
    if limit is not None and limit < 1:
        raise InputError(f"the limit of rows must be at least 1, not {limit}")
    if limit is None or limit >= total:
        return list(range(total))
    return sorted(Random(seed).sample(range(total), limit))


def few_shot(examples: Sequence[Example], shots: int, seed: int) -> list[Example]:
    """Draw a small training set that is balanced by class.

    Each class gives shots // classes examples, and what is missing to `shots` is drawn from all.
    Where there are more classes than shots (STS-B's scores), neighbouring ones count as one.

    Args:
        examples: All training examples.
        shots: How many to draw in all.
        seed: Fixes the draw.

    Returns:
        The drawn examples, in their order.

    Raises:
        InputError: There are fewer examples than shots, or fewer than the share of a class.
    """
    if not 1 <= shots <= len(examples):
        raise InputError(f"k_shot: {shots} examples of {len(examples)}; give 1 to {len(examples)}")
    order = Random(seed).sample(range(len(examples)), len(examples))
    by_class = defaultdict(list)
    classes = max(1, min(shots, len(examples[0].labels)))
    for index in order:
        one = examples[index]
        place = one.labels.index(one.target) * classes // len(one.labels) if one.labels else 0
        by_class[place].append(index)
    for place in range(classes):
        if len(by_class[place]) < shots // classes:
            raise InputError(
                f"k_shot: {shots} examples of {classes} classes need {shots // classes} of each, "
                f"but class {place} has {len(by_class[place])}; lower --k_shot"
            )
    chosen = {index for place in by_class for index in by_class[place][: shots // classes]}
    rest = [index for index in order if index not in chosen]
    return [examples[index] for index in sorted([*chosen, *rest[: shots - len(chosen)]])]
