"""The decoder's layers under torch.compile, with attention left as it is.

What a layer does around its matrix products (norms, rotary embedding, activation) is then fused.
One compilation serves all layers, and rows of any length. Attention stays out: its plan is a Python
object that differs from row to row, and its own kernels are fast already.
"""

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from transformers.modeling_layers import GradientCheckpointingLayer

from adept_llm.compat.transformers import register_attention
from adept_llm.errors import InputError
from adept_llm.packing.attention import ATTENTION, shared_prefix_attention

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def compile_layers(
    model: "PreTrainedModel",
    backend: str | Callable[..., Any] = "inductor",
    mode: str | None = None,
) -> None:
    """Compile each decoder layer in place; parameters keep their names.

    Args:
        model: an injected model whose batcher is made.
        backend: as of torch.compile.
        mode: likewise.

    Raises:
        InputError: for a model whose layers are not known.
    """
    layers = [each for each in model.modules() if isinstance(each, GradientCheckpointingLayer)]
    if not layers:
        raise InputError(f"torch_compile: {model.config.model_type} has no layers known here")
    left_out = torch.compiler.disable(shared_prefix_attention)  # type: ignore[no-untyped-call]
    register_attention(ATTENTION, left_out)
    for layer in layers:
        layer.compile(backend=backend, mode=mode, dynamic=True)


def check_compiler(device: str, backend: str | None) -> None:
    """Refuse what would fail at the first step.

    Raises:
        InputError: where code for a CPU is to be made and there is no C++ compiler.
    """
    made_here = backend in (None, "inductor")
    if made_here and device == "cpu" and not shutil.which(os.environ.get("CXX", "g++")):
        raise InputError("torch_compile: needs g++ on a CPU, as of Debian's package g++")


def not_compiled() -> AbstractContextManager[Any]:
    """Compiled layers run as they are: scoring and generation would each compile them anew."""
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance
