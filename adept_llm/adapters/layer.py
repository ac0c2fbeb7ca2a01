"""The three adapters, each an embedding layer that takes the place of the model's own.

Ids 0..V-1 are words and read the frozen table E [V, d]; ids V..V+m-1 are *virtual tokens* and read
the trained prompt P [m, d]. Everything behind the embedding layer stays stock.

All trained values are fp32 and in units of u, the root mean square of E's entries: the layer
computes with E/u and multiplies by u at the end. It is the same class of functions as the papers'
formulas (W1/u, W2*u, b2*u, P*u are the plain values), and makes one learning rate fit tables of any
scale.
"""

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adept_llm.adapters.config import AdeptConfig, BaseTable
from adept_llm.errors import InputError


class PromptEmbedding(nn.Module):
    """Prompt tuning (Lester et al. 2021): words E[x], virtual tokens P.

    Args:
        base: the model's own embedding layer, frozen; shared, never copied.
        config: sizes of the adapter.
        table: what is known of E.
    """

    def __init__(self, base: nn.Embedding, config: AdeptConfig, table: BaseTable) -> None:
        super().__init__()
        self.base = plain_layer(base)
        self.base_class = type(base)
        self.embed_scale = embed_scale_of(base)
        self.config = config
        self.table = table
        self.prompt = nn.Parameter(
            torch.zeros(config.num_virtual_tokens, table.hidden_size, dtype=torch.float32)
        )  # [m, d], in units of table.rms

    @property
    def weight(self) -> Tensor:
        """The frozen table [V, d]: what tied heads and other readers of the layer expect."""
        return self.base.weight

    @property
    def virtual_token_ids(self) -> list[int]:
        """Ids V..V+m-1, to be put in front of a sequence."""
        first = self.table.vocab_size
        return list(range(first, first + self.config.num_virtual_tokens))

    def trained_parameters(self) -> dict[str, nn.Parameter]:
        """Name -> parameter of everything that is trained; the content of a saved adapter."""
        return {n: p for n, p in self.named_parameters() if not n.startswith("base.")}

    def _apply(self, fn: Any, recurse: bool = True) -> "PromptEmbedding":
        """Follow the model to another device, but not to another dtype (INV 4)."""
        masters = {n: p.detach() for n, p in self.trained_parameters().items()}
        super()._apply(fn, recurse)
        for name, parameter in self.trained_parameters().items():
            if parameter.dtype != torch.float32:
                parameter.data = masters[name].to(parameter.device, copy=True)
        return self

    def reset_offset(self, generator: torch.Generator) -> None:
        """Draw the start of the offset's parameters; nothing to draw for a prompt alone."""

    def offset(self, rows: Tensor, positions: Tensor | None) -> Tensor | None:
        """Offset to add to word embeddings; None for no offset.

        Args:
            rows: E[x] / u, [..., d].
            positions: [...], place of each word in its text; only where the method asks for it.
        """
        return None

    def adapt_rows(self, rows: Tensor, positions: Tensor | None = None) -> Tensor:
        """E[x] -> E[x] + offset, rounded once, to the table's dtype. [..., d] -> [..., d]."""
        offset = self.offset(rows.to(self.work_dtype) / self.table.rms, positions)
        if offset is None:
            return rows
        return (rows.to(offset.dtype) + offset * self.table.rms).to(rows.dtype)

    def prompt_rows(self, dtype: torch.dtype) -> Tensor:
        """P in the units of the table, [m, d]."""
        return (self.prompt.to(self.work_dtype) * self.table.rms).to(dtype)

    @property
    def work_dtype(self) -> torch.dtype:
        """Precision of the adapter's arithmetic."""
        # Matrix products round differently for different numbers of rows. In float64 that is far
        # below the table's precision, so one token decoded alone, a prefill and the merged table
        # give the same bits (INV 7). Training does not need that and stays in fp32.
        return torch.float32 if self.training else torch.float64

    def forward(self, input_ids: Tensor, positions: Tensor | None = None) -> Tensor:
        """Ids [batch, seq] -> embeddings [batch, seq, d] in the table's dtype."""
        is_word = input_ids < self.table.vocab_size
        rows = self.base(torch.where(is_word, input_ids, 0))
        with torch.autocast(rows.device.type, enabled=False):
            rows = self.adapt_rows(rows, positions)
            if self.config.num_virtual_tokens:
                index = (input_ids - self.table.vocab_size).clamp(min=0)
                virtual = F.embedding(index, self.prompt_rows(rows.dtype))
                rows = torch.where(is_word[..., None], rows, virtual)
            if self.embed_scale is not None:
                rows = rows * torch.tensor(self.embed_scale, dtype=rows.dtype, device=rows.device)
        return rows

    def extra_repr(self) -> str:
        """Shown by print(model)."""
        return f"method={self.config.method}, num_virtual_tokens={self.config.num_virtual_tokens}"


class AdeptEmbedding(PromptEmbedding):
    """ADePT (Tang, Hu and Liu, ICLR 2025): one small network, shared by all words, moves each.

        E[x] + relu(E[x] W1 + b1) W2 + b2        W1 [d, r]  b1 [r]  W2 [r, d]  b2 [d]

    W1 starts kaiming-uniform (a = sqrt(5)), the others at zero: training starts from the prompt.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        d, r = self.table.hidden_size, self.config.bottleneck_size
        assert r is not None
        self.w1 = nn.Parameter(torch.empty(d, r, dtype=torch.float32))
        self.b1 = nn.Parameter(torch.zeros(r, dtype=torch.float32))
        self.w2 = nn.Parameter(torch.zeros(r, d, dtype=torch.float32))
        self.b2 = nn.Parameter(torch.zeros(d, dtype=torch.float32))

    def reset_offset(self, generator: torch.Generator) -> None:
        """Draw W1 by kaiming_uniform(a=sqrt(5)), which is U(-1/sqrt(d), 1/sqrt(d))."""
        bound = 1 / math.sqrt(self.table.hidden_size)
        self.w1.uniform_(-bound, bound, generator=generator)

    def offset(self, rows: Tensor, positions: Tensor | None) -> Tensor:
        """Compute relu(rows W1 + b1) W2 + b2, [..., d] -> [..., d]."""
        dtype = rows.dtype
        hidden = torch.matmul(rows, self.w1.to(dtype)) + self.b1.to(dtype)  # [..., r]
        hidden = F.dropout(hidden, self.config.bottleneck_dropout, self.training)
        return torch.matmul(F.relu(hidden), self.w2.to(dtype)) + self.b2.to(dtype)


class DeptEmbedding(PromptEmbedding):
    """DePT (Shi and Lipani, ICLR 2024): a low-rank offset by the word's position in the text.

        E[x] + scale * (A B)[position]        A [s, r]  B [r, d]

    A starts normal, B at zero. Virtual tokens are not counted; beyond s positions the offset is
    zero. The model's forward pre-hook (see `injection`), which knows position_ids, tells positions.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        s, r = self.config.offset_positions, self.config.bottleneck_size
        assert r is not None
        self.a = nn.Parameter(torch.empty(s, r, dtype=torch.float32))
        self.b = nn.Parameter(torch.zeros(r, self.table.hidden_size, dtype=torch.float32))
        self.position_ids: Tensor | None = None

    def reset_offset(self, generator: torch.Generator) -> None:
        """Draw A from N(0, 1/r), so that rows of A B have the size of rows of B."""
        self.a.normal_(0.0, self.a.shape[1] ** -0.5, generator=generator)

    def offset(self, rows: Tensor, positions: Tensor | None) -> Tensor:
        """Pick scale * (A B)[positions], [..., d]; zero outside 0..s-1."""
        if positions is None:
            raise InputError(
                "dept: the embedding layer knows no positions by itself; call the whole model with "
                "input_ids"
            )
        table = torch.matmul(self.a.to(rows.dtype), self.b.to(rows.dtype))  # [s, d]
        inside = (positions >= 0) & (positions < table.shape[0])
        picked = F.embedding(positions.clamp(0, table.shape[0] - 1), table)
        return self.config.offset_scale * picked * inside[..., None]

    def forward(self, input_ids: Tensor, positions: Tensor | None = None) -> Tensor:
        """Ids [batch, seq] -> embeddings [batch, seq, d]; see the class for the positions."""
        if positions is None and self.position_ids is not None:
            positions = self.position_ids - self.config.num_virtual_tokens
            positions = positions.to(input_ids.device).expand(input_ids.shape)
        return super().forward(input_ids, positions)


def embed_scale_of(base: nn.Embedding) -> float | None:
    """The constant by which a layer multiplies its rows (Gemma: sqrt(d)); None for a plain one."""
    scale = getattr(base, "embed_scale", None)
    return None if scale is None else float(getattr(base, "scalar_embed_scale", scale))


def plain_layer(base: nn.Embedding) -> nn.Embedding:
    """A layer that reads the same table without scaling; a plain layer is kept as it is.

    The adapter works on the table itself and scales afterwards: so a merged table is exact.
    """
    return base if type(base) is nn.Embedding else layer_of(base.weight, nn.Embedding)


def layer_of(weight: Tensor, kind: type[nn.Embedding], *args: Any) -> nn.Embedding:
    """An embedding layer of some kind around an existing table [V, d]."""
    layer = kind(1, 1, *args)
    layer.num_embeddings, layer.embedding_dim = weight.shape
    layer.weight = cast(nn.Parameter, weight)
    return layer.to(weight.device)


EMBEDDINGS: dict[str, type[PromptEmbedding]] = {
    "adept": AdeptEmbedding,
    "dept": DeptEmbedding,
    "prompt_tuning": PromptEmbedding,
}
