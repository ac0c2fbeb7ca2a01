"""Prompt forms: four ways to make the m rows of P. See `forms.PromptForm` for the contract."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from adept_llm.adapters.forms import PromptForm, Rows, Sizes, values
from adept_llm.errors import InputError


class PlainPrompt(PromptForm):
    """Prompt tuning (Lester et al., EMNLP 2021): every number of P [m, d] is trained.

    Starts at rows of the table, of a text, of another adapter, or at random; see `prompt_init`.
    """

    default_rate = 0.1
    takes_rows = True

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.weight = values(sizes.num_virtual_tokens, sizes.hidden_size)

    def reset(self, generator: torch.Generator, start: Callable[[], Tensor]) -> None:
        """Copy the start."""
        self.weight.copy_(start())

    def forward(self, dtype: torch.dtype, rows: Rows) -> Tensor:
        """P itself, as a copy: ZeRO-3 takes the parameter away when this call returns."""
        return self.weight.to(dtype, copy=True)


class LowRankPrompt(PromptForm):
    """DPT, decomposed prompt tuning (Xiao et al., Findings of EMNLP 2023, section 3).

        P = U V        U [m, r]  V [r, d]

    The authors' code (github.com/XYaoooo/DPT, modeling_t5.py) draws both from U(-0.5, 0.5) and has
    r = 10 at m = 100.
    """

    default_rate = 0.02
    default_rank = 10

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.u = values(sizes.num_virtual_tokens, sizes.prompt_rank)
        self.v = values(sizes.prompt_rank, sizes.hidden_size)

    def reset(self, generator: torch.Generator, start: Callable[[], Tensor]) -> None:
        """Draw both factors."""
        self.u.uniform_(-0.5, 0.5, generator=generator)
        self.v.uniform_(-0.5, 0.5, generator=generator)

    def forward(self, dtype: torch.dtype, rows: Rows) -> Tensor:
        """U V."""
        return torch.matmul(self.u.to(dtype), self.v.to(dtype))


class SuperposedPrompt(PromptForm):
    """SuperPos-Prompt (Ali Sadraei Javaheri et al., ENLSP 2024, PMLR 262, section 3).

        p_i = sum_j M_ij e_j        M [m, k]  e_1..e_k: rows of E, of k words drawn once and frozen

    No softmax: the weights M are free, as published; k = 128 is the paper's plateau. Where the
    authors start M was not found. Here it is N(0, 1/k), so that rows of P have the size of words.
    Only the words' ids are saved.
    """

    default_rate = 0.02
    default_rank = 128
    ids: Tensor

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.vocab_size, self.rank = sizes.vocab_size, sizes.prompt_rank
        if self.rank > self.vocab_size:
            raise InputError(
                f"prompt_rank: {self.rank} words are to be drawn, the table has {self.vocab_size}; "
                "give a smaller --prompt_rank"
            )
        self.mix = values(sizes.num_virtual_tokens, self.rank)
        self.register_buffer("ids", torch.zeros(self.rank, dtype=torch.long))

    def reset(self, generator: torch.Generator, start: Callable[[], Tensor]) -> None:
        """Draw the words, without replacement, and their weights."""
        self.ids.copy_(torch.randperm(self.vocab_size, generator=generator)[: self.rank])
        self.mix.normal_(0.0, self.rank**-0.5, generator=generator)

    def forward(self, dtype: torch.dtype, rows: Rows) -> Tensor:
        """M times the words' rows."""
        return torch.matmul(self.mix.to(dtype), rows(self.ids))


class ProjectedPrompt(PromptForm):
    """ULPT (Wu, Hao and Mou, 2025, arXiv 2502.04501, section 3): P lives in r dimensions.

        P_ij = s_j sum_k Z_ik R_kj + b_j        Z [m, r]  s [d]  b [d]  R [r, d] random and frozen

    The authors' code (github.com/MANGA-UOFA/ULPT, prompt_tuning_lodim.py) draws Z from N(0, 1) and
    R from Xavier's U(-sqrt(6/(r + d)), sqrt(6/(r + d))), starts at s = 1 and b = 0, and has r = 2.
    """

    default_rate = 0.5
    default_rank = 2
    projection: Tensor

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        rank, width = sizes.prompt_rank, sizes.hidden_size
        self.bound = math.sqrt(6 / (rank + width))
        self.z = values(sizes.num_virtual_tokens, rank)
        self.scale = values(width)
        self.shift = values(width)
        self.register_buffer("projection", torch.zeros(rank, width, dtype=torch.float32))

    def reset(self, generator: torch.Generator, start: Callable[[], Tensor]) -> None:
        """Draw Z and R."""
        self.z.normal_(generator=generator)
        self.projection.uniform_(-self.bound, self.bound, generator=generator)
        self.scale.fill_(1.0)
        self.shift.zero_()

    def forward(self, dtype: torch.dtype, rows: Rows) -> Tensor:
        """Z R, scaled and shifted."""
        projected = torch.matmul(self.z.to(dtype), self.projection.to(dtype))
        return projected * self.scale.to(dtype) + self.shift.to(dtype)
