"""What stands in front of texts that a model continues: the prompts P, each computed once.

A model with one adapter has one prompt. With several there is one for each, padded in front to the
longest, [PAD..][P]; a mask hides the pads.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from adept_llm.adapters import embedding_device, rows_of, several_of, virtual_token_ids
from adept_llm.compat.cache import cache_of
from adept_llm.packing.collator import left_pad

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Prefixes:
    """The prompts of a model as it is; of no use once their values have changed.

    Args:
        model: an injected model, or one without adapter.
        names: of the adapters to be used, for a model that has several; none for another model.

    Raises:
        InputError: for a name that is not there, or none where the model has several.
    """

    def __init__(self, model: "PreTrainedModel", names: Sequence[str] = ()) -> None:
        self.model = model
        self.names = tuple(dict.fromkeys(names))
        with self.owned_by(range(len(self.names))):  # refuses unknown names
            adapters = several_of(model).adapters if self.names else {}
        self.virtual = (
            [adapters[name].virtual_token_ids for name in self.names]
            if self.names
            else [virtual_token_ids(model)]
        )

    @property
    def longest(self) -> int:
        """Columns that they take."""
        return max(map(len, self.virtual))

    def owned_by(self, places: Sequence[int]) -> AbstractContextManager[None]:
        """Calls with rows behind the prompts of these places."""
        if not self.names:
            return nullcontext()
        return rows_of(self.model, [self.names[place] for place in places])

    def rows(self, places: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Ids of the prompts of these places, and the mask that hides pads; both [B, longest]."""
        masks = left_pad([[1] * len(ids) for ids in self.virtual], 0)
        return left_pad(self.virtual, 0)[list(places)], masks[list(places)]

    def cache(self, places: Sequence[int], copies: int = 1) -> Any:
        """Keys and values of these prompts, each so many times in turn; None where all are empty.

        `generate` copies ids for its beams, but not a cache that it is given.
        """
        if not self.longest:
            return None
        cache = deepcopy(self._cache)
        chosen = torch.tensor(places, device=embedding_device(self.model))
        cache.batch_select_indices(chosen.repeat_interleave(copies))
        return cache

    @cached_property
    def _cache(self) -> Any:
        device, places = embedding_device(self.model), range(len(self.virtual))
        ids, mask = (rows.to(device) for rows in self.rows(places))
        with torch.no_grad(), self.owned_by(places):
            out = self.model(
                input_ids=ids,
                attention_mask=mask,
                # models count pads otherwise
                position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
                use_cache=True,
                logits_to_keep=1,
            )
        return cache_of(out)
