"""The loss on free text against Hugging Face's own, one row at a time."""

import pytest
import torch

from adept_llm import get_adapter
from adept_llm.evaluation.token_loss import TokenLoss
from adept_llm.packing import make_batcher
from tests.builders import adapted, make_examples


@pytest.mark.parametrize("packed", [True, False])
def test_loss_is_the_mean_over_target_tokens(packed):
    model = adapted("llama-grouped").eval()
    examples = make_examples([(3, 2), (9, 1), (1, 4), (6, 3), (2, 7)])
    virtual = get_adapter(model).virtual_token_ids
    total = 0.0
    for e in examples:
        ids = torch.tensor([virtual + e.prompt_ids + e.target_ids])
        with torch.no_grad():
            found = (
                model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None].clamp(max=95))
            )
        total -= found[-len(e.target_ids) :].sum().item()
    batcher = make_batcher(model, "shared_prefix" if packed else "padded")
    measure = TokenLoss(tuple(examples), None, batch_size=2)
    expected = total / sum(len(e.target_ids) for e in examples)
    assert measure(model, batcher) == {"loss": pytest.approx(expected, rel=1e-5)}
