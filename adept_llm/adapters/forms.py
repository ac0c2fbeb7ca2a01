"""The two parts of an adapter, as contracts: what makes the prompt, and what is added to words.

All values are in units of u, the root mean square of E's entries, or 1 where `units` is plain. A
form uses its parameters in its own forward alone: ZeRO-3 gathers what a module owns for the time of
that call, so a result must not be a view of a parameter.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

Rows = Callable[[Tensor], Tensor]
"""Ids [...] -> rows E[x] / u of the frozen table, [..., d]."""


@dataclass(frozen=True)
class Sizes:
    """What a form is made from; each takes what it needs."""

    vocab_size: int
    hidden_size: int
    num_virtual_tokens: int
    prompt_rank: int
    bottleneck_size: int
    bottleneck_dropout: float
    offset_positions: int
    offset_scale: float
    offset_by_rank: bool = False


class PromptForm(nn.Module, ABC):
    """Makes the m rows of P. Parameters are trained; buffers are random, frozen and saved."""

    default_rate: ClassVar[float]
    """Learning rate where none is given, in units of u; docs/results.md tells what it rests on."""
    default_rank: ClassVar[int | None] = None
    """prompt_rank where none is given; None for a form that has no such size."""
    takes_rows: ClassVar[bool] = False
    """Whether its start is given row by row (see `prompt_init`), and not drawn by the form."""

    @abstractmethod
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()

    @abstractmethod
    def reset(self, generator: torch.Generator, start: Callable[[], Tensor]) -> None:
        """Set the initial values.

        Args:
            generator: on the CPU.
            start: gives rows [m, d] in units of u; called by forms that take rows.
        """

    @abstractmethod
    def forward(self, dtype: torch.dtype, rows: Rows) -> Tensor:
        """P / u, [m, d], computed in a dtype.

        Args:
            dtype: of the arithmetic and the result.
            rows: reads the frozen table in that dtype.
        """


class OffsetForm(nn.Module, ABC):
    """Makes what is added to the rows of words. Parameters are trained."""

    default_rate: ClassVar[float]
    """Learning rate where none is given, in units of u; docs/results.md tells what it rests on."""
    default_size: ClassVar[int | None] = None
    """bottleneck_size where none is given; None for a form that trains nothing."""
    starts_by_rank: ClassVar[bool] = False
    """Whether its first matrix can start at U(-1/sqrt(r), 1/sqrt(r)), see `offset_init`."""
    needs_positions: ClassVar[bool] = False
    """Whether it asks for each word's place in its text."""
    merges: ClassVar[bool] = True
    """Whether it depends on the word alone, so that a table [V, d] can hold it."""

    @abstractmethod
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()

    @abstractmethod
    def reset(self, generator: torch.Generator) -> None:
        """Set the initial values: training starts from an offset of zero."""

    @abstractmethod
    def forward(self, rows: Tensor, word_ids: Tensor, positions: Tensor | None) -> Tensor | None:
        """Offset / u, [..., d], in the dtype of rows; None for none.

        Args:
            rows: E[x] / u, [..., d].
            word_ids: x, [...]; any word in the place of a virtual token.
            positions: place of each word in its text, [...]; None where it is not known.
        """

    @abstractmethod
    def factors(self, rows: Tensor, word_ids: Tensor) -> tuple[Tensor, Tensor]:
        """A [n, k] and B [k, d] with A B the offsets / u of n words, in the dtype of rows.

        B does not depend on the words, so that with A of all of them the offset is a low-rank
        matrix of the whole table: an embedding LoRA of rank k.

        Args:
            rows: E[x] / u, [n, d].
            word_ids: x, [n].

        Raises:
            InputError: for a form that is no function of the word.
        """


def values(*shape: int) -> nn.Parameter:
    """An fp32 parameter of zeros: trained values are masters, whatever the base's dtype (INV 4)."""
    return nn.Parameter(torch.zeros(*shape, dtype=torch.float32))
