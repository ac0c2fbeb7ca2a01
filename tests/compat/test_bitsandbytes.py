"""4-bit layers can be kept from repacking; base/test_loading.py has the gradients themselves."""

from bitsandbytes.nn import Linear4bit
from torch import nn

from adept_llm.compat.bitsandbytes import keep_gradients_right


def test_the_switch_of_a_layer_exists_and_is_turned_off():
    layer = Linear4bit(4, 4)
    assert "support_avx512bf16_for_cpu" in vars(layer)
    layer.support_avx512bf16_for_cpu = True
    keep_gradients_right(nn.Sequential(layer))
    assert layer.support_avx512bf16_for_cpu is False
