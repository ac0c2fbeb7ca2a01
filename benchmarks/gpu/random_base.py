"""A base of random weights, made on the device layer by layer: no hub, no disk, no copy in bf16."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from benchmarks.gpu.setting import Setting, Skipped


def random_base(setting: Setting, quantization: str = "none") -> Any:
    """A decoder of the setting's shape whose linear layers are NF4 where that is asked for.

    Raises:
        Skipped: without bitsandbytes.
    """
    from transformers import AutoModelForCausalLM

    if quantization == "nf4" and not find_spec("bitsandbytes"):
        raise Skipped("bitsandbytes is not installed")
    torch.manual_seed(0)
    whole, first = setting.config, deepcopy(setting.config)
    first.num_hidden_layers = 1
    if getattr(whole, "layer_types", None):
        first.layer_types = whole.layer_types[:1]
    with _made_on(setting):
        model = AutoModelForCausalLM.from_config(first, dtype=setting.dtype)
        config, decoder = model.config, model.get_decoder()
        config.num_hidden_layers = whole.num_hidden_layers
        if getattr(whole, "layer_types", None):
            config.layer_types = whole.layer_types
        kind = type(decoder.layers[0])
        decoder.layers = nn.ModuleList()
        for index in range(whole.num_hidden_layers):
            layer = kind(config, index)
            if quantization == "nf4":
                _quantize(layer, setting)
            decoder.layers.append(layer)
    return model.requires_grad_(False)


@contextmanager
def _made_on(setting: Setting) -> Iterator[None]:
    """New tensors have the setting's device and dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(setting.dtype)
    try:
        with torch.device(setting.device):
            yield
    finally:
        torch.set_default_dtype(before)


def _quantize(layer: nn.Module, setting: Setting) -> None:
    """Put NF4 with double quantisation in the place of a layer's linear layers."""
    import bitsandbytes  # noqa: TID251 - the package itself reads quantised bases from disk alone

    for module in list(layer.modules()):
        for name, linear in list(module.named_children()):
            if not isinstance(linear, nn.Linear):
                continue
            small = bitsandbytes.nn.Linear4bit(
                linear.in_features, linear.out_features, linear.bias is not None,
                compute_dtype=setting.dtype, compress_statistics=True, quant_type="nf4",
                device="meta",
            )  # fmt: skip
            weight: Any = bitsandbytes.nn.Params4bit(
                linear.weight.data, requires_grad=False, compress_statistics=True,
                quant_type="nf4", module=small,
            )  # fmt: skip
            small.weight = weight.to(setting.device)
            small.bias = linear.bias
            setattr(module, name, small)
