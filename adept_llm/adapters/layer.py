"""The embedding layer that takes the place of the model's own, and holds a prompt and an offset.

Ids 0..V-1 are words and read the frozen table E [V, d]; ids V..V+m-1 are *virtual tokens* and read
the trained prompt P [m, d]. Everything behind the embedding layer stays stock.

All trained values are fp32 and in units of u, the root mean square of E's entries: the layer
computes with E/u and multiplies by u at the end. It is the same class of functions as the papers'
formulas (for ADePT W1/u, W2*u, b2*u, P*u are the plain values), and makes one learning rate fit
tables of any scale. With `units="plain"` u is 1: the layer computes with E itself, as the authors'
code does.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from adept_llm.adapters.call import CallState
from adept_llm.adapters.config import AdeptConfig, BaseTable
from adept_llm.adapters.forms import OffsetForm, PromptForm
from adept_llm.adapters.methods import METHODS
from adept_llm.adapters.precision import finest_dtype
from adept_llm.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class AdeptEmbedding(nn.Module):
    """Words E[x] + offset, virtual tokens P; `config.method` names the forms of both.

    Args:
        base: the model's own embedding layer, frozen; shared, never copied.
        config: the method and its sizes.
        table: what is known of E.

    Raises:
        InputError: for sizes that the table cannot serve.
    """

    prompt: PromptForm
    offset: OffsetForm

    def __init__(self, base: nn.Embedding, config: AdeptConfig, table: BaseTable) -> None:
        super().__init__()
        self.base = unscaled(base)
        self.base_class = type(base)
        self.embed_scale = embed_scale_of(base)
        self.config = config
        self.table = table
        self.unit = config.unit(table)
        method, sizes = METHODS[config.method], config.sizes(table)
        self.prompt, self.offset = method.prompt(sizes), method.offset(sizes)
        # ZeRO-3 takes parameters away between calls, and their shapes with them
        self.shapes = {name: tuple(p.shape) for name, p in self.trained_parameters().items()}
        self.hooks: list[RemovableHandle] = []  # of the model around it
        self.call = CallState()  # see `insertion` and `positions`
        self.active = True  # see `without_adapter`

    @property
    def weight(self) -> Tensor:
        """The frozen table [V, d]: what tied heads and other readers of the layer expect."""
        return self.base.weight

    @property
    def virtual_token_ids(self) -> list[int]:
        """Ids V..V+m-1, to be put in front of a sequence."""
        first = self.table.vocab_size
        return list(range(first, first + self.config.num_virtual_tokens))

    def prompt_parameters(self) -> dict[str, nn.Parameter]:
        """Name -> parameter of the prompt."""
        return {f"prompt.{name}": p for name, p in self.prompt.named_parameters()}

    def offset_parameters(self) -> dict[str, nn.Parameter]:
        """Name -> parameter of the offset."""
        return {f"offset.{name}": p for name, p in self.offset.named_parameters()}

    def trained_parameters(self) -> dict[str, nn.Parameter]:
        """Name -> parameter of everything that is trained."""
        return self.prompt_parameters() | self.offset_parameters()

    def frozen_values(self) -> dict[str, Tensor]:
        """Name -> what is random and frozen, and saved beside the trained parameters."""
        return {f"prompt.{name}": buffer for name, buffer in self.prompt.named_buffers()}

    def saved_values(self) -> dict[str, Tensor]:
        """Name -> tensor of a saved adapter."""
        return self.trained_parameters() | self.frozen_values()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "AdeptEmbedding":
        """Follow the model to another device, but not to another dtype (INV 4)."""
        masters = {name: value.detach() for name, value in self.saved_values().items()}
        trained = self.trained_parameters().items()
        gradients = {name: p.grad.detach() for name, p in trained if p.grad is not None}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, value in self.saved_values().items():
            if value.dtype != masters[name].dtype:
                value.data = masters[name].to(value.device, copy=True)
                if name in gradients:
                    value.grad = gradients[name].to(value.device)
        return self

    def adapt_rows(self, rows: Tensor, word_ids: Tensor, positions: Tensor | None = None) -> Tensor:
        """E[x] -> E[x] + offset, rounded once, to the table's dtype.

        Args:
            rows: E[x], [..., d].
            word_ids: x, [...].
            positions: see `forms.OffsetForm`.
        """
        offset: Tensor | None = self.offset(self._in_units(rows), word_ids, positions)
        if offset is None:
            return rows
        return (rows.to(offset.dtype) + offset * self.unit).to(rows.dtype)

    def offset_factors(self, rows: Tensor, word_ids: Tensor) -> tuple[Tensor, Tensor]:
        """A [n, k] and B [k, d] with A B the offsets of n words, in the units of the table.

        Args:
            rows: E[x], [n, d].
            word_ids: x, [n].

        Raises:
            InputError: for an offset that depends on more than the word.
        """
        left, right = self.offset.factors(self._in_units(rows), word_ids)
        return left, right * self.unit

    def prompt_rows(self, dtype: torch.dtype) -> Tensor:
        """P in the units of the table, [m, d]."""
        prompt: Tensor = self.prompt(self.work_dtype, lambda ids: self._in_units(self.base(ids)))
        return (prompt * self.unit).to(dtype)

    def _in_units(self, rows: Tensor) -> Tensor:
        return rows.to(self.work_dtype) / self.unit

    @property
    def work_dtype(self) -> torch.dtype:
        """Precision of the adapter's arithmetic: fp32 in training, else the device's finest."""
        return torch.float32 if self.training else finest_dtype(self.base.weight.device.type)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Ids [batch, seq] -> embeddings [batch, seq, d] in the table's dtype."""
        has_prompt = self.active and self.config.num_virtual_tokens > 0
        is_word = input_ids < self.table.vocab_size
        # where there is no P, the base refuses what is no word
        word_ids = torch.where(is_word, input_ids, 0) if has_prompt else input_ids
        rows: Tensor = self.base(word_ids)
        with torch.autocast(rows.device.type, enabled=False):
            if self.active:
                rows = self.adapt_rows(rows, word_ids, self._positions(input_ids))
            if has_prompt:
                index = (input_ids - self.table.vocab_size).clamp(min=0)
                virtual = F.embedding(index, self.prompt_rows(rows.dtype))
                rows = torch.where(is_word[..., None], rows, virtual)
            if self.embed_scale is not None:
                rows = rows * torch.tensor(self.embed_scale, dtype=rows.dtype, device=rows.device)
        return rows

    def _positions(self, input_ids: Tensor) -> Tensor | None:
        """Each word's place in its text, [batch, seq], where `position_ids` were told."""
        told: Tensor | None = self.call.told.get("position_ids")
        if told is None:
            return None
        positions = told - self.config.num_virtual_tokens
        return positions.to(input_ids.device).expand(input_ids.shape)

    def extra_repr(self) -> str:
        """Shown by print(model)."""
        return f"method={self.config.method}, num_virtual_tokens={self.config.num_virtual_tokens}"


def get_adapter(model: "PreTrainedModel") -> AdeptEmbedding:
    """The adapter of an injected model.

    Raises:
        InputError: if it has none, or several.
    """
    embedding = model.get_input_embeddings()
    if not isinstance(embedding, AdeptEmbedding):
        raise InputError(
            "model: has no adapter; call inject_adapter or load_adapter first, and `only` where it "
            "has several"
        )
    return embedding


def virtual_token_ids(model: "PreTrainedModel") -> list[int]:
    """What stands in front of a model's texts: the ids of P; none where it has no adapter now.

    Raises:
        InputError: for a model with several adapters, each of which has its own.
    """
    layer = model.get_input_embeddings()
    if not getattr(layer, "active", True):
        return []
    ids: list[int] = getattr(layer, "virtual_token_ids", [])
    return ids


def embedding_device(model: "PreTrainedModel") -> torch.device:
    """Where ids are read; a model may lie on several devices."""
    return cast(Tensor, model.get_input_embeddings().weight).device


@contextmanager
def without_adapter(model: "PreTrainedModel") -> Iterator[None]:
    """Let an injected model be its frozen base: words are read from E, and there is no P.

    It is so for the calls of all threads.

    Raises:
        InputError: if it has no adapter.
    """
    adapter = get_adapter(model)
    before, adapter.active = adapter.active, False
    try:
        yield
    finally:
        adapter.active = before


def embed_scale_of(base: nn.Embedding) -> float | None:
    """The constant by which a layer multiplies its rows (Gemma: sqrt(d)); None for a plain one."""
    scale = getattr(base, "embed_scale", None)
    return None if scale is None else float(getattr(base, "scalar_embed_scale", scale))


def unscaled(base: nn.Embedding) -> nn.Embedding:
    """A layer that reads the same table without scaling; a plain layer is kept as it is.

    The adapter works on the table itself and scales afterwards: so a merged table is exact.
    """
    return base if type(base) is nn.Embedding else layer_over(base.weight, nn.Embedding)


def layer_over(
    weight: Tensor, kind: type[nn.Embedding], embed_scale: float | None = None
) -> nn.Embedding:
    """An embedding layer of some kind over an existing weight [V, d].

    Args:
        weight: shared, not copied.
        kind: class of the layer.
        embed_scale: for a class that scales its rows.
    """
    layer = kind(1, 1) if embed_scale is None else kind(1, 1, None, embed_scale)
    layer.num_embeddings, layer.embedding_dim = weight.shape
    layer.weight = cast(nn.Parameter, weight)
    return layer.to(weight.device)
