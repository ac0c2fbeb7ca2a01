"""The pieces: what each measures, and how many minutes it takes at 7 B on an H100, a guess."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from benchmarks.gpu import kernels, matmul, peers, steps
from benchmarks.gpu.setting import Setting


class Piece(NamedTuple):
    """What is computed in a process of its own."""

    name: str
    says: str
    minutes: float
    run: Callable[[Setting], dict[str, Any]]


def _kernel(name: str, minutes: float, says: str) -> Piece:
    return Piece(f"kernel-{name}", says, minutes, partial(kernels.run, name))


def _train(name: str, says: str, minutes: float, **given: Any) -> Piece:
    whole = {"quantization": "none", "packing": "shared_prefix", "checkpointing": False, **given}
    return Piece(f"train-{name}", says, minutes, partial(_trained, whole))


def _trained(given: dict[str, Any], setting: Setting) -> dict[str, Any]:
    return steps.train(setting, **given)


def _memory(name: str, quantization: str) -> Piece:
    says = f"peaks of six micro-batches against the estimate, {name}"
    return Piece(f"memory-{name}", says, 2, lambda setting: steps.memory(setting, quantization))


def _peer(kind: str, says: str) -> Piece:
    return Piece(f"peer-{kind}", says, 1.5, partial(peers.run, kind))


PIECES = (
    Piece("matmul", "peak of matrix products", 0.5, matmul.run),
    _train("bf16", "tokens/s and utilisation, packed", 1.5),
    _train("nf4", "the same on a base in 4 bits", 2, quantization="nf4"),
    _memory("bf16", "none"),
    _memory("nf4", "nf4"),
    _peer("lora", "PEFT's LoRA, r = 16 on q and v, padded"),
    _peer("prompt_tuning", "PEFT's PromptTuning, padded"),
    _train("bf16-checkpointing", "the same with gradient checkpointing", 2, checkpointing=True),
    _train("bf16-padded", "the same adapter, padded", 2, packing="padded"),
    _train("bf16-short", "the same for texts a quarter as long", 1, part=0.25),
    _kernel("flash", 1, "flash-attn's varlen kernel, against float64, and its time"),
    _kernel("varlen", 1, "torch's own varlen kernel"),
    _kernel("flex", 3, "FlexAttention: does a new length compile anew?"),
    _kernel("sdpa", 1, "SDPA over padded segments"),
    _kernel("dense", 1, "dense products with the prefix"),
    _kernel("merged", 1, "candidate: prefix once and own part, merged by log-sum-exp"),
)
