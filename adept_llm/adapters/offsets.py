"""Offset forms: ways to move the rows of words. See `forms.OffsetForm` for the contract."""

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from adept_llm.adapters.forms import OffsetForm, Sizes, values
from adept_llm.errors import InputError


class NoOffset(OffsetForm):
    """Words stay as the table has them."""

    default_rate = 0.0

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)

    def reset(self, generator: torch.Generator) -> None:
        """Nothing is drawn."""

    def forward(self, rows: Tensor, word_ids: Tensor, positions: Tensor | None) -> None:
        """None."""

    def factors(self, rows: Tensor, word_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Of rank 0."""
        return rows[:, :0], rows.new_zeros(0, rows.shape[1])


class NetworkOffset(OffsetForm):
    """ADePT (Tang, Hu and Liu, ICLR 2025): one small network, shared by all words, moves each.

        relu(E[x] W1 + b1) W2 + b2        W1 [d, r]  b1 [r]  W2 [r, d]  b2 [d]

    W1 starts at U(-1/sqrt(d), 1/sqrt(d)), kaiming_uniform(a = sqrt(5)) of a layer from d to r; the
    others at zero. The authors' code (github.com/HungerPWAY/ADePT, prompt_tuning_lorax.py) calls
    kaiming_uniform_ on a [d, r] tensor, whose fan-in torch takes for r: `by_rank`.
    """

    default_rate = 0.003
    default_size = 19
    starts_by_rank = True
    columns: ClassVar[int] = 1
    """Columns of W1 for each of the r values behind the activation."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        d, r = sizes.hidden_size, sizes.bottleneck_size
        self.bound = 1 / math.sqrt(r if sizes.offset_by_rank else d)
        self.dropout = sizes.bottleneck_dropout
        self.w1, self.b1 = values(d, self.columns * r), values(self.columns * r)
        self.w2, self.b2 = values(r, d), values(d)

    def reset(self, generator: torch.Generator) -> None:
        """Draw W1."""
        self.w1.uniform_(-self.bound, self.bound, generator=generator)

    def forward(self, rows: Tensor, word_ids: Tensor, positions: Tensor | None) -> Tensor:
        """Compute relu(rows W1 + b1) W2 + b2, [..., d] -> [..., d]."""
        dtype = rows.dtype
        return torch.matmul(self._hidden(rows), self.w2.to(dtype)) + self.b2.to(dtype)

    def factors(self, rows: Tensor, word_ids: Tensor) -> tuple[Tensor, Tensor]:
        """[H, 1] of rank r + 1, and [W2; b2]: for a fixed table the network's inside is a table."""
        dtype = rows.dtype
        hidden = self._hidden(rows)
        left = torch.cat([hidden, torch.ones_like(hidden[:, :1])], 1)
        return left, torch.cat([self.w2.to(dtype), self.b2.to(dtype)[None]])

    def _hidden(self, rows: Tensor) -> Tensor:
        """H, what lies behind the activation, [..., d] -> [..., r]."""
        dtype = rows.dtype
        hidden = torch.matmul(rows, self.w1.to(dtype)) + self.b1.to(dtype)  # [..., columns * r]
        return self.activation(F.dropout(hidden, self.dropout, self.training))

    def activation(self, hidden: Tensor) -> Tensor:
        """Pre-activations [..., columns * r] -> [..., r]."""
        return F.relu(hidden)


class LinearOffset(NetworkOffset):
    """ADePT's network without its relu, for ablations: a low-rank affine map of E[x].

    (E[x] W1 + b1) W2 + b2
    """

    def activation(self, hidden: Tensor) -> Tensor:
        """As it is."""
        return hidden


class GatedOffset(NetworkOffset):
    """ADePT's network with a gate instead of its relu, for ablations (GLU, Dauphin et al. 2017).

    ((E[x] W1 + b1) * sigmoid(E[x] Wg + bg)) W2 + b2        [W1 | Wg] [d, 2 r]  [b1 | bg] [2 r]
    """

    columns = 2

    def activation(self, hidden: Tensor) -> Tensor:
        """The first r values, gated by the others."""
        return F.glu(hidden)


class PositionOffset(OffsetForm):
    """DePT (Shi and Lipani, ICLR 2024): a low-rank offset by the word's position in the text.

        scale * (A B)[position]        A [s, r]  B [r, d]

    A starts at N(0, 1/r), so that rows of A B have the size of rows of B, and B at zero. The
    authors' code (github.com/ZhengxiangShi/DePT, prompt_tuning_lora.py) draws A by
    kaiming_uniform_(a = sqrt(5)), U(-1/sqrt(r), 1/sqrt(r)): `by_rank`; its scale is 8/sqrt(r).
    Virtual tokens are not counted; beyond s positions the offset is zero. The model's forward
    pre-hook (see `injection`), which knows position_ids, tells positions.
    """

    default_rate = 0.01
    default_size = 19
    starts_by_rank = True
    needs_positions = True
    merges = False

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.num_positions, self.rank = sizes.offset_positions, sizes.bottleneck_size
        self.scale = sizes.offset_scale
        self.by_rank = sizes.offset_by_rank
        self.a = values(self.num_positions, self.rank)
        self.b = values(self.rank, sizes.hidden_size)

    def reset(self, generator: torch.Generator) -> None:
        """Draw A."""
        bound = self.rank**-0.5
        if self.by_rank:
            self.a.uniform_(-bound, bound, generator=generator)
        else:
            self.a.normal_(0.0, bound, generator=generator)

    def forward(self, rows: Tensor, word_ids: Tensor, positions: Tensor | None) -> Tensor:
        """Pick scale * (A B)[positions], [..., d]; zero outside 0..s-1."""
        if positions is None:
            raise InputError(
                "dept: the embedding layer knows no positions by itself; call the whole model with "
                "input_ids"
            )
        offsets = torch.matmul(self.a.to(rows.dtype), self.b.to(rows.dtype))  # [s, d]
        inside = (positions >= 0) & (positions < self.num_positions)
        picked = F.embedding(positions.clamp(0, self.num_positions - 1), offsets)
        return self.scale * picked * inside[..., None]

    def factors(self, rows: Tensor, word_ids: Tensor) -> tuple[Tensor, Tensor]:
        """None: the offset is another one at each position."""
        raise InputError(
            "dept: its offset depends on a word's position, so no table can hold it; "
            "use the adapter unmerged"
        )


class WordOffset(OffsetForm):
    """LoRA of the embedding layer (Hu et al., ICLR 2022, on E): a low-rank offset by the word.

        A[x] B        A [V, r]  B [r, d]

    A starts at zero and B at N(0, 1), as in loralib's and PEFT's Embedding layers; r = 8 there too.
    """

    default_rate = 0.003
    default_size = 8

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.a = values(sizes.vocab_size, sizes.bottleneck_size)
        self.b = values(sizes.bottleneck_size, sizes.hidden_size)

    def reset(self, generator: torch.Generator) -> None:
        """Draw B."""
        self.b.normal_(generator=generator)

    def forward(self, rows: Tensor, word_ids: Tensor, positions: Tensor | None) -> Tensor:
        """A[x] B, [..., d]."""
        return torch.matmul(F.embedding(word_ids, self.a).to(rows.dtype), self.b.to(rows.dtype))

    def factors(self, rows: Tensor, word_ids: Tensor) -> tuple[Tensor, Tensor]:
        """A[x] and B, which they are made of."""
        return F.embedding(word_ids, self.a).to(rows.dtype), self.b.to(rows.dtype, copy=True)
