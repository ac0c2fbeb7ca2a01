"""What bitsandbytes' layers do behind one's back. Read in bitsandbytes 0.50.2."""

from typing import Any

import torch


def keep_gradients_right(model: torch.nn.Module) -> None:
    """Keep 4-bit layers from repacking their weights.

    On CPUs with AVX512-BF16 the first forward pass without gradients repacks the weights of
    Linear4bit in place, and later backward passes are wrong, silently (a gradient's norm of 2.53
    became 0.014). `support_avx512bf16_for_cpu` says whether a layer does so; if it is renamed,
    those gradients are wrong again.
    """
    module: Any
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def kept_beside_weights(model: torch.nn.Module) -> list[Any]:
    """What copies of a model must share with it besides parameters and buffers.

    The first call of Linear8bitLt moves the weight's numbers (`CB`, `SCB`) into its `state`: a copy
    of the layer over the same weight would find none. If `init_8bit_state` is renamed, it does.
    """
    layers: list[Any] = [one for one in model.modules() if hasattr(one, "init_8bit_state")]
    return [layer.state for layer in layers]
