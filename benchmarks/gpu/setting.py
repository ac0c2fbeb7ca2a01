"""What the pieces share: shape, device, the size of a micro-batch, and how time is taken."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from adept_llm.base.memory import meta_model
from adept_llm.base.shapes import known_shape

TINY: dict[str, Any] = {
    "vocab_size": 512, "hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
}  # fmt: skip


class Skipped(Exception):
    """What a piece needs is not here."""


@dataclass(frozen=True)
class Setting:
    """Sizes of all pieces; tiny ones on the CPU for a rehearsal.

    Attributes:
        tokens: Of the longest texts; others have half as many or more.
        rounds: Measured steps.
        lengths: Different ones that a kernel is tried on.
    """

    shape: str
    device: torch.device
    dtype: torch.dtype
    batch: int = 32
    tokens: int = 256
    virtual: int = 60
    rounds: int = 8
    lengths: int = 6

    @classmethod
    def of(cls, shape: str, rehearse: bool) -> "Setting":
        """The real one, or a rehearsal's."""
        if rehearse:
            return cls(shape, torch.device("cpu"), torch.float32, 4, 24, 5, 2, 2)
        return cls(shape, torch.device("cuda"), torch.bfloat16)

    @property
    def config(self) -> Any:
        """Of the base."""
        from transformers import LlamaConfig

        return LlamaConfig(**TINY) if self.shape == "tiny" else known_shape(self.shape)

    def synchronize(self) -> None:
        """Wait for the GPU."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def seconds(self, run: Callable[[], Any]) -> float:
        """Of one call, the GPU's work included."""
        self.synchronize()
        start = time.perf_counter()
        run()
        self.synchronize()
        return time.perf_counter() - start

    def forget_peak(self) -> None:
        """Let the peak begin at what is held now."""
        gc.collect()  # models are rings of references
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak(self) -> int | None:
        """Most bytes that the GPU's allocator handed out; None on a CPU, see benchmarks.memory."""
        return torch.cuda.max_memory_allocated() if self.device.type == "cuda" else None


def layer_parameters(config: Any) -> int:
    """P: weights of the linear layers that each token passes; the head reads targets alone."""
    model = meta_model(config, torch.bfloat16)
    head = model.get_output_embeddings()
    linear = (m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head)
    return sum(module.weight.numel() for module in linear)
