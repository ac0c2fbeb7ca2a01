"""Several adapters on one frozen table: each row of a batch, or span of a packed row, has its own.

Ids stand for the same as in front of one adapter: V+i is row i of the prompt P of whom the row
belongs to. So nothing is numbered anew, and what an adapter makes of an id does not depend on which
others are there. Whose the rows are cannot be seen in ids; it is told for the calls of a context.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from adept_llm.adapters.call import CallState
from adept_llm.adapters.config import BaseTable
from adept_llm.adapters.layer import AdeptEmbedding
from adept_llm.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class SeveralAdapters(nn.Module):
    """An embedding layer of K adapters over one table.

    Args:
        adapters: by name, all over the same embedding layer.

    Raises:
        InputError: for none.
    """

    def __init__(self, adapters: Mapping[str, AdeptEmbedding]) -> None:
        super().__init__()
        if not adapters:
            raise InputError("adapters: none is given; give one or more")
        # no ModuleDict: a name may hold a dot
        self.names = tuple(adapters)
        self.layers = nn.ModuleList(adapters.values())
        self.owners: list[int] = []
        self.lengths: list[int] | None = None
        self.call = CallState()  # see `positions`

    @property
    def adapters(self) -> dict[str, AdeptEmbedding]:
        """Name -> adapter."""
        found = dict(zip(self.names, self.layers, strict=True))
        return {name: layer for name, layer in found.items() if isinstance(layer, AdeptEmbedding)}

    @property
    def base(self) -> nn.Embedding:
        """The frozen layer that all share."""
        return next(iter(self.adapters.values())).base

    @property
    def weight(self) -> Tensor:
        """The frozen table [V, d]."""
        return self.base.weight

    @property
    def table(self) -> BaseTable:
        """What is known of it."""
        return next(iter(self.adapters.values())).table

    @property
    def virtual_token_ids(self) -> list[int]:
        """Not known where nobody says of which adapter.

        Raises:
            InputError: always.
        """
        raise InputError("model: has several adapters; ask for the ids of P within `only`")

    def forward(self, input_ids: Tensor) -> Tensor:
        """Ids [batch, seq] -> embeddings [batch, seq, d] in the table's dtype.

        Raises:
            InputError: where nobody said whose the rows are, or of another number of rows.
        """
        dim = 0 if self.lengths is None else 1
        owners = self._owners(input_ids.shape[dim])
        positions: Tensor | None = self.call.told.get("position_ids")
        pieces, order = [], []
        for index, layer in enumerate(self.adapters.values()):
            places = [place for place, owner in enumerate(owners) if owner == index]
            if not places:
                continue
            order += places
            own = torch.tensor(places, device=input_ids.device)
            if positions is not None:
                told = positions.to(input_ids.device).expand(input_ids.shape)
                layer.call.told["position_ids"] = told.index_select(dim, own)
            pieces.append(layer(input_ids.index_select(dim, own)))
            layer.call.told.pop("position_ids", None)
        back = torch.tensor(order, device=input_ids.device).argsort()
        return torch.cat(pieces, dim).index_select(dim, back)

    def _owners(self, size: int) -> list[int]:
        """The adapter of each of so many rows, or of each token of the one row."""
        if not self.owners:
            raise InputError("model: has several adapters; call it within `rows_of` or `only`")
        if self.lengths is None:
            # beams stand side by side
            copies, rest = divmod(size, len(self.owners))
            spans = [copies] * len(self.owners)
        else:
            spans, rest = self.lengths, size - sum(self.lengths)
        if rest:
            what = "rows" if self.lengths is None else "tokens"
            told = len(self.owners) if self.lengths is None else sum(self.lengths)
            raise InputError(f"model: {told} {what} were announced by `rows_of`, {size} came")
        return [owner for owner, n in zip(self.owners, spans, strict=True) for _ in range(n)]

    def check_prompts(self, hold: Sequence[bool]) -> None:
        """Refuse rows without virtual ids whose adapters have a prompt, as P is part of them.

        Args:
            hold: whether each row holds virtual ids.

        Raises:
            InputError: naming the adapter, and as `forward`.
        """
        if self.lengths is not None:
            return
        for owner, held in zip(self._owners(len(hold)), hold, strict=True):
            name = self.names[owner]
            if not held and (ids := self.adapters[name].virtual_token_ids):
                raise InputError(
                    f"input_ids: a row of {name!r} holds no virtual tokens; put its "
                    f"{len(ids)}, from {ids[0]} on, in front of its text, or call the model within "
                    "`only`, which inserts them"
                )

    def extra_repr(self) -> str:
        """Shown by print(model)."""
        return f"adapters={', '.join(self.names)}"


def several_of(model: "PreTrainedModel") -> SeveralAdapters:
    """The adapters of a model that has several.

    Raises:
        InputError: if it was not loaded by `load_adapters`.
    """
    embedding = model.get_input_embeddings()
    if not isinstance(embedding, SeveralAdapters):
        raise InputError("model: has no adapters by name; call load_adapters first")
    return embedding


@contextmanager
def rows_of(
    model: "PreTrainedModel", names: Sequence[str], lengths: Sequence[int] | None = None
) -> Iterator[None]:
    """Say whose the rows of the next calls are; `generate` may repeat each row for its beams.

    It is said to the model, for the calls of all threads.

    Args:
        model: with several adapters.
        names: of each row's adapter; with lengths, of each span of the one packed row.
        lengths: tokens of the spans.

    Raises:
        InputError: for a name that is not there.
    """
    layer = several_of(model)
    unknown = set(names) - set(layer.names)
    if unknown:
        known = ", ".join(layer.names)
        raise InputError(f"adapters: {min(unknown)!r} is not there; known: {known}")
    before = layer.owners, layer.lengths
    layer.owners = [layer.names.index(name) for name in names]
    layer.lengths = None if lengths is None else list(lengths)
    try:
        yield
    finally:
        layer.owners, layer.lengths = before


@contextmanager
def only(model: "PreTrainedModel", name: str) -> Iterator[None]:
    """Let a model with several adapters have this one alone, as `load_adapter` would give it.

    Raises:
        InputError: for a name that is not there, and where the adapter was merged meanwhile.
    """
    layer = several_of(model)
    if name not in layer.names:
        raise InputError(f"adapters: {name!r} is not there; known: {', '.join(layer.names)}")
    chosen = layer.adapters[name]
    chosen.train(layer.training)
    model.set_input_embeddings(chosen)
    try:
        yield
    finally:
        if kept := model.get_input_embeddings() is chosen:
            layer.train(chosen.training)
            model.set_input_embeddings(layer)
    if not kept:
        raise InputError(
            f"adapters: {name!r} was merged within `only`, so the others have no model now; "
            "load the base again, and what is to be merged by load_adapter"
        )
