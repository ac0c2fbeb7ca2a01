"""Hooks that tell an embedding layer the positions of its words, which it cannot know by itself."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from adept_llm.adapters.call import named
from adept_llm.compat.cache import given_cache

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def tell_positions(model: "PreTrainedModel") -> None:
    """Let an injected model find each token's position before each call, as it will itself."""
    model.register_forward_pre_hook(_tell, with_kwargs=True)
    model.register_forward_hook(_forget, always_call=True)


def _forget(model: Any, *call: Any) -> None:
    """Positions hold for one call."""
    model.get_input_embeddings().call.told.pop("position_ids", None)


def _tell(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    given = named(model, args, kwargs)
    input_ids: Tensor | None = given.get("input_ids")
    positions = given.get("position_ids")
    if input_ids is None:
        return
    if positions is None:
        cache = given_cache(given)
        seen = cache.get_seq_length() if cache is not None else 0
        mask = given.get("attention_mask")
        if mask is not None and mask.ndim == 2:
            positions = (mask.long().cumsum(-1) - 1)[:, seen:]
        else:
            positions = torch.arange(seen, seen + input_ids.shape[1])[None]
    model.get_input_embeddings().call.told["position_ids"] = positions
