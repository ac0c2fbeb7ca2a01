"""What tuning cost: the loss on plain text with the adapter, less that of the base alone.

As in PEFT's comparison of methods (huggingface/peft, method_comparison/MetaMathQA/run.py,
calculate_mean_per_token_loss): the mean over all tokens of all texts but their first, each text cut
to a number of tokens; the base is read without the adapter, not with an untrained one.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from adept_llm.adapters import without_adapter
from adept_llm.data import Encoded
from adept_llm.evaluation.token_loss import mean_loss
from adept_llm.packing import Batcher

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def forgetting(
    model: "PreTrainedModel", batcher: Batcher, texts: Sequence[Encoded], batch_size: int
) -> dict[str, float]:
    """Loss in nats per token of plain text, and how much of it is the adapter's.

    Args:
        model: An injected model.
        batcher: The model's.
        texts: From `data.plain_text.encode_texts`.
        batch_size: Texts in a batch.

    Returns:
        text_loss, base_text_loss and their difference, forgetting: above 0 where the adapter made
        the text less likely.
    """
    tuned = mean_loss(model, batcher, texts, batch_size)
    with without_adapter(model):
        base = mean_loss(model, replace(batcher, virtual_token_ids=()), texts, batch_size)
    return {"text_loss": tuned, "base_text_loss": base, "forgetting": tuned - base}
