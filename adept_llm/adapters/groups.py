"""What an optimizer is given: the prompt and the offset, each with a rate of its own."""

from typing import TYPE_CHECKING, Any

from torch import nn

from adept_llm.adapters.layer import get_adapter
from adept_llm.adapters.methods import METHODS

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def trained_parts(model: "PreTrainedModel") -> dict[str, list[nn.Parameter]]:
    """What is trained of the prompt and of the offset, by those names; an empty part is left out.

    Raises:
        InputError: if the model has no adapter.
    """
    adapter = get_adapter(model)
    prompt = [p for p in adapter.prompt_parameters().values() if p.requires_grad]
    parts = {"prompt": prompt, "offset": list(adapter.offset_parameters().values())}
    return {name: part for name, part in parts.items() if part}


def parameter_groups(
    model: "PreTrainedModel",
    learning_rate: float | None = None,
    offset_learning_rate: float | None = None,
) -> list[dict[str, Any]]:
    """Parameter groups for any torch optimizer: the prompt's, then the offset's.

    Args:
        model: an injected model.
        learning_rate: of the prompt; by default that of its form.
        offset_learning_rate: of the offset; likewise.

    Raises:
        InputError: if the model has no adapter.
    """
    method = METHODS[get_adapter(model).config.method]
    rates = {
        "prompt": method.prompt.default_rate if learning_rate is None else learning_rate,
        "offset": (
            method.offset.default_rate if offset_learning_rate is None else offset_learning_rate
        ),
    }
    return [{"params": part, "lr": rates[name]} for name, part in trained_parts(model).items()]
