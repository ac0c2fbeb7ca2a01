"""Label scores against the stock model's own log-probabilities, one row at a time."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adept_llm import get_adapter
from adept_llm.evaluation.label_scoring import accuracy, score_labels, with_end
from adept_llm.packing import use_packed_attention
from adept_llm.tasks import Encoded
from benchmarks.architectures import VOCAB
from benchmarks.packing_parity import adapted


def reference(model, prompt, label):
    """log p(label | P, prompt) by one unpadded row in float64."""
    ids = get_adapter(model).virtual_token_ids + prompt + label
    with torch.no_grad():
        logits = model(torch.tensor([ids]), use_cache=False).logits[0].double()
    found = logits.log_softmax(-1)[range(len(ids) - len(label) - 1, len(ids) - 1), label]
    return found.sum().item()


def encoded(prompts):
    return [Encoded(prompt, [5, 2], str(i), 0, 0) for i, prompt in enumerate(prompts)]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", ["llama-grouped", "gpt2", "gemma3", "opt"])
@settings(max_examples=8, deadline=None)
@given(
    prompts=st.lists(
        st.lists(st.integers(3, VOCAB - 1), min_size=1, max_size=9), min_size=1, max_size=5
    ),
    labels=st.lists(
        st.lists(st.integers(3, VOCAB - 1), min_size=1, max_size=4), min_size=2, max_size=3
    ),
)
def test_scores_equal_the_models_own(name, packed, prompts, labels):
    model = adapted(name)
    model.eval()
    expected = [[reference(model, p, label) for label in labels] for p in prompts]
    if packed:
        use_packed_attention(model)
    scores = score_labels(model, encoded(prompts), labels, batch_size=2)
    assert torch.allclose(scores.double(), torch.tensor(expected).double(), atol=1e-4)


def test_dept_counts_positions_within_each_text():
    model = adapted("llama-grouped", "dept")
    prompts, labels = [[7, 8, 9, 10], [11, 12]], [[5], [6, 7]]
    expected = [[reference(model, p, label) for label in labels] for p in prompts]
    for packed in (False, True):
        if packed:
            use_packed_attention(model)
        scores = score_labels(model, encoded(prompts), labels)
        assert torch.allclose(scores.double(), torch.tensor(expected).double(), atol=1e-4)


def test_a_label_that_begins_another_is_told_apart_by_its_end():
    assert with_end([[4], [4, 5]], 2) == [[4, 2], [4, 5, 2]]
    assert with_end([[4], [5, 4]], 2) == [[4], [5, 4]]


def test_accuracy_counts_the_best_label():
    scores = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    assert accuracy(scores, [1, 1, 0]) == pytest.approx(2 / 3)
