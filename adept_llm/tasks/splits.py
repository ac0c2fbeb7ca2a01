"""Which rows are for training, validation and test: the papers' protocol, row for row.

Most test labels of the benchmarks are secret, so DePT and ADePT (after ATTEMPT and Compacter) make
a third labelled split of two: small tasks halve their validation rows, large ones hold back 1,000
training rows and test on all validation rows. Which rows go where is a permutation by torch's
generator with seed 42, as in the papers' code. MultiRC is halved by questions: one with
answers on either side would be measured on what a model was chosen by. The papers halve its rows.

PEFT's comparison of methods validates on 50 rows of GSM8K's train split: the first of a permutation
by numpy's legacy generator with seed 0 (its `data.py`).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

SEED = 42
HELD_OUT = 1000
PEFT_DRAWN = 50


class Part(NamedTuple):
    """A part of one of the hub's splits.

    Attributes:
        split: The hub's name for the split.
        share: 'all', 'first half', 'second half', 'held out', 'rest' or '50 drawn'.
    """

    split: str
    share: str = "all"

    @property
    def is_half(self) -> bool:
        """Whether it is a half of labelled rows, of which the other half is another part."""
        return "half" in self.share

    def indices(self, total: int, groups: Sequence[str] | None = None) -> list[int]:
        """The rows of the part, in their order.

        Of a train split below 5,000 rows (a sub-sample for a trial) a fifth is held out.

        Args:
            total: Number of rows of the hub's split.
            groups: Names what each row belongs to; such rows stay together. None draws single rows.
        """
        if groups is not None:
            names = list(dict.fromkeys(groups))
            chosen = {names[index] for index in self.indices(len(names))}
            return [index for index, name in enumerate(groups) if name in chosen]
        if self.share == "all":
            return list(range(total))
        # not when a task is declared: `import adept_llm` is quick
        if self.share == f"{PEFT_DRAWN} drawn":
            import numpy as np

            drawn = np.random.RandomState(0).permutation(total)[:PEFT_DRAWN]
            return sorted(drawn.tolist())
        import torch

        order = torch.randperm(total, generator=torch.Generator().manual_seed(SEED)).tolist()
        cut = total // 2 if self.is_half else min(HELD_OUT, total // 5)
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
