"""Label scores against the stock model's own log-probabilities, one row at a time."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adept_llm import get_adapter
from adept_llm.adapters import without_adapter
from adept_llm.data import Encoded
from adept_llm.evaluation.label_scoring import score_labels, with_end
from adept_llm.packing import make_batcher
from tests.builders import ARCHITECTURES, VOCAB, adapted, small_model


def reference(model, prompt, label):
    """log p(label | P, prompt) by one unpadded row in float64."""
    ids = get_adapter(model).virtual_token_ids + prompt + label
    with torch.no_grad():
        logits = model(torch.tensor([ids]), use_cache=False).logits[0].double()
    found = logits.log_softmax(-1)[range(len(ids) - len(label) - 1, len(ids) - 1), label]
    return found.sum().item()


def encoded(prompts):
    return [Encoded(prompt, [5, 2], str(i), 0, 0) for i, prompt in enumerate(prompts)]


def check(model, packed, prompts, labels, **options):
    """Each prompt with its own labels."""
    model.eval()
    expected = [
        [reference(model, p, label) for label in own]
        for p, own in zip(prompts, labels, strict=True)
    ]
    batcher = make_batcher(model, "shared_prefix" if packed else "padded")
    scores = score_labels(model, batcher, encoded(prompts), labels, **options)
    assert len(scores) == len(expected)
    for got, wanted in zip(scores, expected, strict=True):
        assert torch.allclose(got.double(), torch.tensor(wanted).double(), atol=1e-4)


IDS = st.integers(3, VOCAB - 1)
LABELS = st.lists(st.lists(IDS, min_size=1, max_size=4), min_size=2, max_size=3)
PAIRS = st.lists(st.tuples(st.lists(IDS, min_size=1, max_size=9), LABELS), min_size=1, max_size=5)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", ["llama-grouped", "gpt2", "gemma3", "opt"])
@settings(max_examples=8, deadline=None)
@given(pairs=PAIRS)
def test_scores_equal_the_models_own(name, packed, pairs):
    prompts, labels = (list(part) for part in zip(*pairs, strict=True))
    check(adapted(name), packed, prompts, labels, batch_size=2)


def test_texts_beyond_a_sliding_window_are_scored_as_the_model_reads_them(monkeypatch):
    """Packed kernels know no window; few shots in front of a text may exceed it."""
    monkeypatch.setitem(ARCHITECTURES["mistral"][1], "sliding_window", 9)
    check(adapted("mistral"), True, [[7, 8, 9] * 6, [11, 12]], [[[5], [6, 7, 8]]] * 2, batch_size=1)


@pytest.mark.parametrize("packed", [True, False])
def test_without_the_adapter_the_base_s_own_scores_are_told(packed):
    """Its virtual ids stood in front all the same, and were read as words."""
    base, model = small_model("llama-grouped"), adapted()
    prompts, labels = [[7, 8, 9], [11, 12]], [[[5], [6, 7]]] * 2
    with without_adapter(model):
        batcher = make_batcher(model, "shared_prefix" if packed else "padded")
        scores = score_labels(model, batcher, encoded(prompts), labels)
    for prompt, own, found in zip(prompts, labels, scores, strict=True):
        for label, score in zip(own, found.tolist(), strict=True):
            with torch.no_grad():
                told = base(torch.tensor([prompt + label])).logits[0].log_softmax(-1)
            first = len(prompt) - 1
            wanted = sum(told[first + i, one].item() for i, one in enumerate(label))
            assert score == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("packed", [True, False])
def test_dept_counts_positions_within_each_text(packed):
    labels = [[[5], [6, 7]]] * 2
    check(adapted("llama-grouped", "dept"), packed, [[7, 8, 9, 10], [11, 12]], labels)


def test_a_label_that_begins_another_is_told_apart_by_its_end():
    assert with_end([[4], [4, 5]], 2) == [[4, 2], [4, 5, 2]]
    assert with_end([[4], [5, 4]], 2) == [[4], [5, 4]]
