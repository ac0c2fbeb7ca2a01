"""Attention kernels over packed rows: against float64, and their time at changing lengths."""

import random
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adept_llm.packing import PackedLayout, kernels
from adept_llm.packing.dense_prefix import dense_attention
from benchmarks.gpu.merged import merged_attention
from benchmarks.gpu.setting import Setting, Skipped

KERNELS: dict[str, kernels.Kernel] = {
    "flash": kernels.flash_attention,
    "varlen": kernels.torch_varlen_attention,
    "flex": kernels.flex_attention,
    "sdpa": kernels.sdpa_attention,
    "dense": dense_attention,
    "merged": merged_attention,
}
ON_CUDA_ALONE = ("flash", "varlen", "merged")
# bf16 has 8 bits: 0.004 for each rounding
TOLERANCE = {torch.bfloat16: 0.02, torch.float32: 1e-5}


class Heads(NamedTuple):
    """Queries [T, H, D], keys and values [T, G, D]."""

    query: Tensor
    key: Tensor
    value: Tensor


def run(name: str, setting: Setting) -> dict[str, Any]:
    """Errors of output and gradients, and times.

    Raises:
        Skipped: where the kernel is not at hand.
    """
    if name in ON_CUDA_ALONE and setting.device.type != "cuda":
        raise Skipped("needs CUDA")
    if name == "flash" and not find_spec("flash_attn"):
        raise Skipped("flash_attn is not installed")
    kernel, trains = KERNELS[name], name != "flex" or setting.device.type == "cuda"
    found = {"errors": errors(kernel, setting, trains), **times(kernel, setting, trains)}
    found["right"] = max(found["errors"].values()) < TOLERANCE[setting.dtype]
    if name == "flex":
        found["mask_ms"] = mask_times(setting)
    return found


def errors(kernel: kernels.Kernel, setting: Setting, trains: bool) -> dict[str, float]:
    """Norm of the difference by the norm of what float64 gives, for output and gradients."""
    layout = layouts(setting, batch=5, count=1)[0]
    heads = random_heads(setting, layout)
    weights = torch.randn_like(heads.query)
    names = ("output", "query", "key", "value") if trains else ("output",)
    found = results(kernel, heads, layout, weights, trains)
    exact = Heads(*(x.double() for x in heads))
    expected = results(reference, exact, layout, weights.double(), trains)
    return {
        name: float(f"{((one - other).norm() / other.norm()).item():.2g}")
        for name, one, other in zip(names, (x.double() for x in found), expected, strict=True)
    }


def results(
    kernel: kernels.Kernel, heads: Heads, layout: PackedLayout, weights: Tensor, trains: bool
) -> list[Tensor]:
    """Output, and gradients where the kernel has them: FlexAttention has none on a CPU."""
    given = Heads(*(x.detach().clone().requires_grad_(trains) for x in heads))
    out = kernel(*given, layout, heads.query.shape[-1] ** -0.5, 0.0)
    slopes = torch.autograd.grad((out * weights).sum(), given) if trains else ()
    return [out.detach(), *slopes]


def reference(
    query: Tensor, key: Tensor, value: Tensor, layout: PackedLayout, scaling: float, dropout: float
) -> Tensor:
    """By one mask [T, T], in the dtype given."""
    segment = torch.arange(len(layout.lengths)).repeat_interleave(torch.tensor(layout.lengths))
    sees = torch.eye(len(layout.lengths), dtype=torch.bool)
    for n, chain in enumerate(layout.ancestors):
        sees[n, list(chain)] = True
    mask = sees[segment][:, segment].tril().to(query.device)
    repeats = query.shape[1] // key.shape[1]
    k, v = (x.repeat_interleave(repeats, 1).transpose(0, 1) for x in (key, value))
    scores = (query.transpose(0, 1) @ k.transpose(1, 2) * scaling).masked_fill(~mask, -torch.inf)
    return (scores.softmax(-1) @ v).transpose(0, 1)


def times(kernel: kernels.Kernel, setting: Setting, trains: bool) -> dict[str, Any]:
    """Milliseconds of a layer; each layout has a length of its own, as steps have.

    `first_calls_s` tell whether a new length compiles anew: plan, forward and backward pass of some
    lengths, then one with a text less. `layer_ms` is without the plan, which all layers share.
    """
    several = [
        *layouts(setting, setting.batch, setting.lengths),
        layouts(setting, setting.batch - 1, 1)[0],
    ]
    calls: list[Callable[[], Any]] = []
    for layout in several:
        heads = random_heads(setting, layout)
        weights = torch.randn_like(heads.query)
        calls.append(partial(results, kernel, heads, layout, weights, trains))
    first = [round(setting.seconds(call), 3) for call in calls]
    later = [setting.seconds(call) for _ in range(setting.rounds) for call in calls]
    setting.forget_peak()
    calls[0]()
    return {
        "passes": "forward and backward" if trains else "forward",
        "first_calls_s": first,
        "layer_ms": round(1000 * statistics.median(later), 3),
        "peak_mib": peak >> 20 if (peak := setting.peak()) else None,
    }


def mask_times(setting: Setting) -> dict[str, list[float]]:
    """FlexAttention's block mask of some lengths, made eagerly and by a compiled function."""
    from torch.nn.attention import flex_attention

    eager = flex_attention.create_block_mask
    found = {}
    for way in ("eager", "compiled"):
        if way == "compiled":
            if setting.device.type != "cuda":
                break
            vars(flex_attention)["create_block_mask"] = torch.compile(eager, dynamic=True)
        taken = []
        for layout in layouts(setting, setting.batch, setting.lengths):
            start = time.perf_counter()
            kernels.FlexPlan(layout, setting.device)
            setting.synchronize()
            taken.append(round(1000 * (time.perf_counter() - start), 2))
        found[way] = taken
    vars(flex_attention)["create_block_mask"] = eager
    return found


def layouts(setting: Setting, batch: int, count: int) -> list[PackedLayout]:
    """Prefixes of m with texts of half the longest length or more."""
    draw = random.Random(batch)
    longest = setting.tokens
    return [
        PackedLayout.shared_prefix(
            setting.virtual, [draw.randint(longest // 2, longest) for _ in range(batch)]
        )
        for _ in range(count)
    ]


def random_heads(setting: Setting, layout: PackedLayout) -> Heads:
    """Of the shape's sizes."""
    config, total = setting.config, sum(layout.lengths)
    heads, width = config.num_attention_heads, config.hidden_size
    size = getattr(config, "head_dim", None) or width // heads
    groups = getattr(config, "num_key_value_heads", None) or heads
    generator = torch.Generator(setting.device).manual_seed(total)
    return Heads(
        *(
            torch.randn(
                total, n, size, generator=generator, device=setting.device, dtype=setting.dtype
            )
            for n in (heads, groups, groups)
        )
    )
