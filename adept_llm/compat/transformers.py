"""Names of transformers that it does not promise to keep; Trainer's are in `trainer`.

Read in transformers 5.17.0 and 5.23.0.
"""

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from transformers import AttentionInterface, AttentionMaskInterface
from transformers.modeling_outputs import BaseModelOutputWithPast

from adept_llm.compat.cache import NEWER, OLDER

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainingArguments

CHECKPOINTING = ("activation_checkpointing", "gradient_checkpointing")


def stock_attention() -> Callable[..., Any]:
    """The attention function that models call under the name 'sdpa'.

    A fresh AttentionInterface reads the table that all of them share; if it no longer does, each
    padded batch of a packed model fails with a KeyError.
    """
    return AttentionInterface()["sdpa"]


def register_attention(name: str, function: Callable[..., Any]) -> None:
    """Let models call a function under a name, with the masks of 'sdpa'.

    Registering both is public. That a model builds no mask where it is handed a 4-dimensional one,
    and hands unknown arguments of its forward on to the function, is not promised: if it ends,
    packed batches fail or are read unpacked (tests/packing/test_parity.py).
    """
    AttentionInterface.register(name, function)
    AttentionMaskInterface.register(name, AttentionMaskInterface()["sdpa"])


def knows_attention(name: str) -> bool:
    """Whether a function is registered under a name; if it no longer is to be seen, never."""
    return name in AttentionInterface()


def cache_argument() -> str:
    """What a call of a model or of `generate` names its cache, see `cache`.

    By the older name 5.24.0 takes it with a warning, by the newer one 5.23.0 does not know it.
    """
    return NEWER if NEWER in {one.name for one in fields(BaseModelOutputWithPast)} else OLDER


def is_quantized(model: "PreTrainedModel") -> bool:
    """Whether from_pretrained quantised the model or read it so.

    It leaves its quantizer as `hf_quantizer`; if that is renamed, Trainer refuses quantised bases.
    """
    return getattr(model, "hf_quantizer", None) is not None


def quantization_of(model: "PreTrainedModel") -> str:
    """nf4, int8, another method's name, or none.

    from_pretrained leaves what it was given as `config.quantization_config`; if that is renamed, a
    run is resumed on a base that is quantised otherwise.
    """
    given = getattr(model.config, "quantization_config", None)
    if given is None:
        return "none"
    told = given if isinstance(given, dict) else given.to_dict()
    if told.get("load_in_4bit"):
        return str(told.get("bnb_4bit_quant_type", "4 bits"))
    return "int8" if told.get("load_in_8bit") else str(told.get("quant_method"))


def accept_quantized(model: "PreTrainedModel") -> None:
    """Let Trainer take a quantised model without peft's adapters.

    Trainer (validate_quantization_for_training) takes quantised models only with peft's adapters,
    or if the quantizer says `is_qat_trainable`: that none of the quantised weights is trained is
    what it wants to know, and so it is here. If the name changes, Trainer refuses the model.
    """
    quantizer = model.hf_quantizer
    kind = type(quantizer)
    quantizer.__class__ = type(kind.__name__, (kind,), {"is_qat_trainable": True})


def checkpoint_alike(model: "PreTrainedModel", other: "PreTrainedModel") -> None:
    """Checkpoint the layers that another model of the same base does, in its way.

    Enabling sets two names in each layer; if they change, the model keeps more than it should
    (tests/compat/test_transformers.py).
    """
    its = dict(other.named_modules())
    for name, module in model.named_modules():
        for attribute in ("gradient_checkpointing", "_gradient_checkpointing_func"):
            if hasattr(its.get(name), attribute):
                setattr(module, attribute, getattr(its[name], attribute))


def checkpoint_reentrantly(model: "PreTrainedModel") -> None:
    """Make the model's gradient checkpointing reentrant, whoever turns it on.

    Trainer calls `gradient_checkpointing_enable(gradient_checkpointing_kwargs=..)`, since 5.23
    `activation_checkpointing_enable(activation_checkpointing_kwargs=..)`. If that changes, 4-bit
    weights that ZeRO-3 gathered stay whole from the forward to the backward pass.
    """
    checkpointing = next(n for n in CHECKPOINTING if hasattr(model, f"{n}_enable"))
    stock, options = getattr(model, f"{checkpointing}_enable"), f"{checkpointing}_kwargs"

    def enable(given: dict[str, Any] | None = None, **others: Any) -> None:
        given = {**(others.pop(options, given) or {}), "use_reentrant": True}
        stock(**{options: given}, **others)

    setattr(model, f"{checkpointing}_enable", enable)


def use_one_gpu(args: "TrainingArguments") -> None:
    """Keep Trainer from spreading one process over all GPUs that it sees, by nn.DataParallel.

    It counts them as `_n_gpu` when it chooses the device, multiplies the batch by that number, and
    wraps the model where it is above 1. If the name changes, `n_gpu` stays what it was
    (tests/training/test_arguments.py).
    """
    if args.n_gpu > 1:
        args._n_gpu = 1
