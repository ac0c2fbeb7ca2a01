"""INV 5: packed loss and gradients equal the padded ones, for every supported architecture."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adept_llm.adapters import METHODS
from adept_llm.packing import make_batcher, summed_loss, why_not_packed
from tests.builders import PACKED, adapted, both, embedded, make_examples, small_model


def assert_equal(padded, packed, tolerance=1e-5):
    assert abs(padded[0] - packed[0]) < tolerance * abs(padded[0])
    assert padded[1].keys() == packed[1].keys() != set()
    for name, gradient in padded[1].items():
        error = (gradient - packed[1][name]).norm().item()
        assert error <= tolerance * gradient.norm().item(), f"{name}: {error}"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", PACKED)
def test_packed_equals_padded(name, method):
    model = adapted(name, method)
    # without relu b1's gradient is a sum over all words that nearly cancels: 1.2e-5 was seen
    tolerance = 3e-5 if method == "adept_linear" else 1e-5
    assert_equal(*both(model, make_examples([(3, 2), (9, 1), (1, 4), (6, 3)])), tolerance)


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(PACKED),
    m=st.integers(0, 7),
    lengths=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 4)), min_size=1, max_size=5),
)
def test_packed_equals_padded_for_any_lengths(name, m, lengths):
    # with no prefix at all the first token has nothing to be predicted from
    lengths = [(max(p, 1) if m == 0 else p, t) for p, t in lengths]
    assert_equal(*both(adapted(name, m=m), make_examples(lengths)), tolerance=3e-5)


@settings(max_examples=20, deadline=None)
@given(
    name=st.sampled_from(PACKED),
    m=st.integers(0, 7),
    rows=st.lists(
        st.tuples(st.integers(1, 6), st.integers(4, 9), st.integers(0, 3), st.integers(0, 4)),
        min_size=1,
        max_size=4,
    ),
)
def test_packed_equals_padded_where_the_loss_passes_over_turns(name, m, rows):
    """Whether the first target tokens, the last ones, all or none are left out."""
    examples = [
        replace(one, passed_over=((start, start + length),) if length else ())
        for one, (_, _, start, length) in zip(
            make_examples([row[:2] for row in rows]), rows, strict=True
        )
    ]
    if all(length == target for _, target, _, length in rows):
        return  # nothing is learnt
    assert_equal(*both(adapted(name, m=m), examples), tolerance=3e-5)


@pytest.mark.parametrize("packing", ["shared_prefix", "padded"])
@pytest.mark.parametrize("m", [0, 5])
def test_the_loss_is_that_of_a_plain_model_at_the_learnt_tokens(packing, m):
    """One row, by hand: log-probabilities of the stock model in float64 at each learnt token."""
    (example,) = make_examples([(4, 9)])
    example = replace(example, passed_over=((1, 3), (6, 7)))
    model = adapted("llama-grouped", m=m)
    virtual = torch.tensor([range(96, 96 + m)], dtype=torch.long)
    ids = torch.cat([virtual, torch.tensor([example.prompt_ids + example.target_ids])], 1)
    rows, _ = embedded(model, ids)
    exact = small_model("llama-grouped", torch.float32).double()
    scores = exact(inputs_embeds=rows.double()).logits[0].log_softmax(-1)
    at = [m + 4 + n for n in (0, 3, 4, 5, 7, 8)]
    expected = -sum(scores[n - 1, ids[0, n]].item() for n in at)
    batch = make_batcher(model, packing)([example])
    found = summed_loss(model(**batch["inputs"], use_cache=False).logits, batch["labels"])
    assert found.item() == pytest.approx(expected, rel=1e-5)
    assert (batch["labels"] >= 0).sum() == len(at)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("name", ["llama-grouped", "gpt2", "gemma3", "opt"])
def test_gradient_checkpointing_changes_nothing(name, reentrant):
    examples = make_examples([(3, 2), (9, 1), (6, 3)])
    plain = both(adapted(name), examples)
    model = adapted(name)
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    model.train()  # checkpointing acts in training mode only
    checkpointed = both(model, examples)
    assert_equal(plain[0], checkpointed[0], 1e-5)
    assert_equal(plain[0], checkpointed[1], 1e-5)


def test_bf16_within_its_own_error():
    examples = make_examples([(3, 2), (9, 1), (6, 3)])
    padded, packed = both(adapted("llama-grouped", dtype=torch.bfloat16), examples)
    exact, _ = both(adapted("llama-grouped"), examples)
    assert abs(padded[0] - packed[0]) <= 2 * abs(padded[0] - exact[0]) + 2**-7 * abs(exact[0])


def test_soft_capping_and_short_windows_are_refused():
    assert "gemma2 soft-caps" in why_not_packed(small_model("gemma2").config, 10)
    config = small_model("gemma3").config
    config.sliding_window = 8
    assert why_not_packed(config, 8) is None
    assert "window of 8" in why_not_packed(config, 9)
