"""What a step saves for its backward pass: counted on the meta device, nothing is computed."""

from typing import Any, cast

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from adept_llm.adapters.injection import silence_dropout
from adept_llm.compat.torch import storage_id
from adept_llm.compat.transformers import register_attention
from adept_llm.packing import Batch, PackedLayout, summed_loss, use_packed_attention
from adept_llm.packing.kernels import VarlenPlan

VARLEN = "adept_varlen_estimate"


def saved_bytes(model: Any, batch: Batch, base_dropout: bool, varlen: bool) -> int:
    """Bytes that one forward pass from the embeddings on saves for its backward pass.

    Args:
        model: on the meta device.
        batch: a micro-batch for it.
        base_dropout: whether the model's own dropout stays on.
        varlen: whether packed rows are read by a varlen kernel, else by the one that is chosen.
    """
    if not base_dropout:
        silence_dropout(model)
    model.train().requires_grad_(False)
    if "packed_layout" in batch["inputs"]:
        use_packed_attention(model)
        if varlen:
            register_attention(VARLEN, _varlen_attention)
            model.set_attn_implementation(VARLEN)
    frozen = {storage_id(p) for p in model.parameters()}
    saved: dict[int, tuple[int, Tensor]] = {}

    def keep(tensor: Tensor) -> Tensor:
        place = storage_id(tensor)
        if place not in frozen:
            # the tensor keeps its id taken
            saved[place] = (tensor.untyped_storage().nbytes(), tensor)
        return tensor

    inputs = {n: v.to("meta") if isinstance(v, Tensor) else v for n, v in batch["inputs"].items()}
    input_ids = inputs.pop("input_ids")
    if inputs["attention_mask"].ndim == 2:
        # as prepared: models look into a 2-dimensional mask, and here is nothing to see
        rows, length = input_ids.shape
        mask = torch.empty(rows, 1, length, length, dtype=torch.bool, device="meta")
        inputs["attention_mask"] = mask
    width, dtype = model.config.hidden_size, model.dtype
    embeddings = torch.empty(*input_ids.shape, width, dtype=dtype, device="meta")
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, _FusedAttention():
        output = model(inputs_embeds=embeddings.requires_grad_(), use_cache=False, **inputs)
        summed_loss(output.logits, batch["labels"].to("meta"))
    return sum(size for size, _ in saved.values())


class _Fused(torch.autograd.Function):
    """Attention that keeps what every fused kernel keeps: queries, keys, values, output."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, out)
        return out


class _FusedAttention(TorchFunctionMode):
    """Puts `_Fused` in the place of SDPA, which on the meta device would keep all weights."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is torch.nn.functional.scaled_dot_product_attention:
            return _Fused.apply(*args[:3])
        return function(*args, **(kwargs or {}))


def _varlen_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    packed_layout: PackedLayout,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Keeps what varlen kernels keep of a packed row, whose signature says the same of shapes."""
    plan = cast(VarlenPlan, packed_layout.plan(VarlenPlan, query.device))
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))  # [T, heads, head_dim]
    out = _Fused.apply(q, *(x.index_select(0, plan.key_index) for x in (k, v)))
    return cast(Tensor, out)[None], None
