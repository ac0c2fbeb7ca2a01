"""Which rows are for training, validation and test: the papers' protocol, row for row.

Most test labels of the benchmarks are secret, so DePT and ADePT (after ATTEMPT and Compacter) make
a third labelled split of two: small tasks halve their validation rows, large ones hold back 1,000
training rows and test on all validation rows. Which rows go where is a permutation by torch's
generator with seed 42, as in the papers' code.
"""

from collections.abc import Mapping
from typing import NamedTuple

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
