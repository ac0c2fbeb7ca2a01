"""One base for several runs: each gets modules of its own over the same frozen tensors."""

import copy
from typing import TYPE_CHECKING

from adept_llm.compat.bitsandbytes import kept_beside_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def over_same_tensors(model: "PreTrainedModel") -> "PreTrainedModel":
    """A copy of a model's modules, hooks and configuration that holds the model's own tensors.

    What is put into the copy, set in it or hooked to it is not seen by others.
    """
    shared = [*model.parameters(), *model.buffers(), *kept_beside_weights(model)]
    return copy.deepcopy(model, {id(one): one for one in shared})
