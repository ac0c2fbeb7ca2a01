"""Losses of many targets are computed a chunk at a time: the same numbers, without all logits."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from adept_llm import get_adapter
from adept_llm.packing import IGNORED, losses, make_batcher, token_losses
from tests.builders import ARCHITECTURES, VOCAB, adapted, make_examples

EXAMPLES = make_examples([(3, 7), (9, 4), (1, 11)])
ROWS = 4  # a chunk; divides neither the 22 targets nor the 33 of padded rows


class LogitsSeen(TorchDispatchMode):
    """Notes of how many targets the log-softmax is taken at once."""

    rows = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._log_softmax.default:
            self.rows = max(self.rows, len(args[0]))
        return func(*args, **(kwargs or {}))


def measured(model, packing):
    """Losses, gradients and the most rows of logits at once."""
    batch = make_batcher(model, packing)(EXAMPLES)
    model.zero_grad()
    with LogitsSeen() as seen:
        found = token_losses(model, batch["inputs"], batch["labels"])
        # unequal slopes: a gradient that is kept from the forward pass must be scaled by its own
        weights = torch.linspace(0.5, 2, found.numel()).view_as(found)
        (weights * found).sum().backward()
    parameters = get_adapter(model).trained_parameters().values()
    gradients = [p.grad.clone() for p in parameters if p.numel()]
    assert torch.equal(found == 0, batch["labels"] == IGNORED)
    return found.detach(), gradients, seen.rows


@pytest.mark.parametrize("packing", ["shared_prefix", "padded"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_chunks_give_the_losses_and_gradients_of_whole_logits(name, packing, monkeypatch):
    model = adapted(name)
    whole, expected, most = measured(model, packing)
    assert most >= 22
    monkeypatch.setattr(losses, "MOST_LOGITS", ROWS * VOCAB)
    chunked, gradients, rows = measured(model, packing)
    # Gemma-2 soft-caps its logits: they are no plain product with the head
    assert rows == most if name == "gemma2" else rows == ROWS
    torch.testing.assert_close(chunked, whole, rtol=1e-5, atol=1e-6)
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("m", [0, 5])
def test_offsets_by_position_are_those_of_whole_logits(m, monkeypatch):
    """The head is tried on one word, whose position is told to DePT as any other's."""
    model = adapted(method="dept", m=m)
    whole, *_ = measured(model, "shared_prefix")
    monkeypatch.setattr(losses, "MOST_LOGITS", ROWS * VOCAB)
    chunked, _, rows = measured(model, "shared_prefix")
    assert rows == ROWS
    torch.testing.assert_close(chunked, whole, rtol=1e-5, atol=1e-6)


def test_a_trained_head_keeps_its_gradient(monkeypatch):
    """Chunks keep slopes by hidden states alone, so they are for frozen heads."""
    monkeypatch.setattr(losses, "MOST_LOGITS", ROWS * VOCAB)
    model = adapted("llama")
    head = model.get_output_embeddings().weight.requires_grad_()
    batch = make_batcher(model)(EXAMPLES)
    token_losses(model, batch["inputs"], batch["labels"]).sum().backward()
    assert head.grad.abs().sum() > 0


def test_nothing_is_kept_where_no_gradient_is_asked_for(monkeypatch):
    monkeypatch.setattr(losses, "MOST_LOGITS", ROWS * VOCAB)
    model = adapted("llama")
    batch = make_batcher(model)(EXAMPLES)
    with torch.no_grad():
        found = token_losses(model, batch["inputs"], batch["labels"])
    assert not found.requires_grad and found.isfinite().all()
