"""A device without float64 computes in float32, and right; all others in float64."""

from contextlib import contextmanager

import pytest
import torch
from torch.overrides import TorchFunctionMode

from adept_llm.adapters import METHODS, get_adapter
from adept_llm.adapters.merge import merged_rows
from adept_llm.adapters.precision import finest_dtype
from tests.builders import adapted, prefixed


class NoFloat64(TorchFunctionMode):
    """Refuses float64 in the way of Apple's MPS."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return result


@contextmanager
def device_without_float64():
    finest_dtype.cache_clear()
    try:
        with NoFloat64():
            yield
    finally:
        finest_dtype.cache_clear()


def test_the_double_refuses_float64():
    """Else the tests below show nothing."""
    with device_without_float64(), pytest.raises(TypeError, match="float64"):
        torch.ones(1).double()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("method", sorted(METHODS))
def test_the_layer_works_without_float64_but_for_the_last_bits(method, dtype):
    """Without it evaluation, generation and merging raise on a Mac."""
    model = adapted("llama", method, dtype=dtype)
    layer, ids = get_adapter(model), prefixed(model)
    layer.call.told["position_ids"] = torch.arange(ids.shape[1])[None]  # dept asks for them
    exact = layer(ids).double()
    with device_without_float64():
        rows = layer(ids)
    assert rows.dtype == dtype
    last_bit = torch.finfo(dtype).eps * exact.abs()
    of_fp32 = 8 * torch.finfo(torch.float32).eps * exact.abs().max()
    assert ((rows.double() - exact).abs() <= last_bit + of_fp32).all()


def test_injecting_generating_and_merging_work_without_float64():
    """The whole way of a user on such a device."""
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    exact = adapted("llama", "adept")
    ids = prefixed(exact)
    expected = exact.generate(ids, attention_mask=torch.ones_like(ids), **options)
    with device_without_float64():
        model = adapted("llama", "adept")
        layer = get_adapter(model)
        assert layer.work_dtype == torch.float32
        found = model.generate(ids, attention_mask=torch.ones_like(ids), **options)
        assert torch.equal(found, expected)
        table = merged_rows(layer)
        assert torch.allclose(table[ids], layer(ids), rtol=1e-6, atol=1e-7)


def test_other_devices_compute_in_float64_and_training_in_float32():
    """INV 7 rests on the one, speed of training on the other."""
    layer = get_adapter(adapted("llama", "adept"))
    assert layer.eval().work_dtype == torch.float64
    assert layer.train().work_dtype == torch.float32
