"""The frozen base in 4 or 8 bits (bitsandbytes): NF4 with double quantisation, or int8.

Only the linear layers are quantised; the embedding table, norms and head keep the compute dtype, so
adapters and merging see the same table as in an unquantised base.
"""

import importlib.util
from typing import TYPE_CHECKING, Any

import torch

from adept_llm.compat.bitsandbytes import keep_gradients_right
from adept_llm.compat.transformers import (
    accept_quantized,
    checkpoint_reentrantly,
    is_quantized,
)
from adept_llm.errors import InputError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

QUANTIZATIONS = ("none", "nf4", "int8")


def check_quantization(
    quantization: str, model_config: "PretrainedConfig", dtype: torch.dtype, zero_stage: int = 0
) -> None:
    """Refuse what cannot work, before a weight is read.

    Args:
        quantization: one of `QUANTIZATIONS`.
        model_config: the base's configuration.
        dtype: of the computation.
        zero_stage: DeepSpeed's ZeRO stage, 0 for none.

    Raises:
        InputError: with the way out.
    """
    if quantization == "none":
        return
    if quantization not in QUANTIZATIONS:
        raise InputError(
            f"quantization: '{quantization}' is unknown; known: {', '.join(QUANTIZATIONS)}"
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError(
            f"quantization: {quantization} needs bitsandbytes; give "
            "pip install 'adept-llm[quantization]'"
        )
    stored = getattr(model_config, "quantization_config", None)
    if stored is not None:
        raise InputError(
            f"quantization: the base is stored quantised already; leave out --quantization "
            f"{quantization}"
        )
    if quantization == "int8" and zero_stage == 3:
        raise InputError(
            "quantization: under ZeRO-3 int8 weights stay whole on each rank (bitsandbytes keeps "
            "them outside of the parameters); use --quantization nf4, or ds_configs/zero2.json"
        )
    if quantization == "nf4" and zero_stage == 3 and dtype == torch.float16:
        raise InputError(
            "quantization: nf4 under ZeRO-3 is tested with bfloat16 and float32; give --dtype "
            "bfloat16"
        )


def loading_options(quantization: str, dtype: torch.dtype) -> dict[str, Any]:
    """Arguments of from_pretrained; none for an unquantised base."""
    if quantization == "none":
        return {}
    from transformers import BitsAndBytesConfig

    if quantization == "int8":
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    return {
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    }


def prepare_for_adapters(model: "PreTrainedModel", sharded: bool = False) -> None:
    """Make a freshly loaded quantised model one that Trainer accepts and whose gradients are right.

    A base that is stored quantised is prepared as well; a plain one is left as it is.

    Args:
        model: from `from_pretrained`.
        sharded: whether ZeRO-3 cut it.
    """
    if not is_quantized(model):
        return
    accept_quantized(model)
    keep_gradients_right(model)
    if sharded:
        # only so are gathered 4-bit weights let go between forward and backward
        checkpoint_reentrantly(model)
