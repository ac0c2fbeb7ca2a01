"""A model that is run from its files: each layer reads its weights when it is called.

Memory holds one layer's weights and what passes between layers, so that a base of any size can be
measured where it is merged.
"""

from typing import Any

import torch
from accelerate import init_empty_weights  # type: ignore[import-untyped]
from torch import Tensor, nn

from adept_llm.adapters import AdeptEmbedding
from adept_llm.adapters.layer import embed_scale_of
from adept_llm.adapters.virtual_head import (
    BIAS,
    VirtualRow,
    last_states,
    measuring_ids,
    virtual_row,
)
from adept_llm.export.safetensors_files import DTYPES, Stored, row_blocks
from adept_llm.export.stored_base import StoredBase
from adept_llm.tuned import Tuned

HEAD_ROWS = 4096


def streamed_row(tuned: Tuned, base: StoredBase, adapter: AdeptEmbedding, more: int) -> VirtualRow:
    """The row that the merged head gets for virtual tokens, see `adapters.virtual_head`.

    Args:
        tuned: The adapter, and what its base is called.
        base: That base's files.
        adapter: The adapter over the stored table.
        more: How many rows the head gets.
    """
    stored = base.tensor(base.head) or base.stored_table
    dtype, prefix = DTYPES[stored.dtype], adapter.virtual_token_ids
    if base.tensor(base.head.removesuffix("weight") + "bias") or not more:
        return VirtualRow(torch.zeros(stored.shape[1], dtype=dtype), bias=BIAS)
    model = streamed_model(base, tuned.base_config, adapter)
    if model is None:
        return VirtualRow(stored.rows(0, 1)[0])
    context = getattr(tuned.base_config, "max_position_embeddings", None)
    ids = measuring_ids(tuned.tokenizer, prefix, adapter.table.vocab_size, context)
    spans = row_blocks(stored.shape[0], HEAD_ROWS)
    return virtual_row(
        lambda ids: last_states(model, ids, len(prefix)),
        lambda: (stored.rows(*span) for span in spans),
        ids,
    )


def streamed_model(base: StoredBase, config: Any, adapter: AdeptEmbedding) -> Any:
    """The base with its adapter, whose layers read themselves; its head hands on what it is given.

    Returns:
        The model, or None where the files name the layers' weights in another way.
    """
    from transformers import AutoModelForCausalLM

    # float16 products take a CPU forty times as long
    half = adapter.weight.dtype == torch.float16
    dtype = torch.float32 if half else adapter.weight.dtype
    with init_empty_weights(include_buffers=False):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.set_input_embeddings(_Rows(adapter, model.get_input_embeddings(), dtype))
    model.set_output_embeddings(nn.Identity())
    for name, layer in model.named_modules():
        own = [each for each, value in layer.named_parameters(recurse=False) if value.is_meta]
        stored = {each: base.tensor(f"{name}.{each}") for each in own}
        if None in stored.values():
            return None
        if own:
            _read_when_called(layer, stored, dtype)  # type: ignore[arg-type]
    return model.eval()


class _Rows(nn.Module):
    """The adapter in the place of the model's own layer, in the dtype that is computed in."""

    def __init__(self, adapter: AdeptEmbedding, own: nn.Embedding, dtype: torch.dtype) -> None:
        super().__init__()
        self.adapter, self.scale, self.dtype = adapter, embed_scale_of(own), dtype

    @property
    def weight(self) -> Tensor:
        return self.adapter.weight

    def forward(self, input_ids: Tensor) -> Tensor:
        rows: Tensor = self.adapter(input_ids).to(self.dtype)
        return rows if self.scale is None else rows * torch.tensor(self.scale, dtype=self.dtype)


def _read_when_called(layer: nn.Module, stored: dict[str, Stored], dtype: torch.dtype) -> None:
    empty = {name: layer.get_parameter(name) for name in stored}

    def read(*_: Any) -> None:
        for name, one in stored.items():
            value = one.rows(0, one.shape[0]).to(dtype)
            layer.register_parameter(name, nn.Parameter(value, requires_grad=False))

    def forget(*_: Any) -> None:
        for name, value in empty.items():
            layer.register_parameter(name, value)

    layer.register_forward_pre_hook(read)
    layer.register_forward_hook(forget)
