"""INV 5: packed loss and gradients equal the padded ones, for every supported architecture."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adept_llm.adapters import METHODS
from adept_llm.packing import why_not_packed
from tests.builders import PACKED, adapted, both, make_examples, small_model


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
    assert_equal(*both(model, make_examples([(3, 2), (9, 1), (1, 4), (6, 3)])))


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
