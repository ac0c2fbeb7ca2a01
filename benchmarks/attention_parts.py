"""What attention behind a shared prefix is made of, on a CPU: whole kernels, and parts by torch's.

    python -m benchmarks.attention_parts [--rounds 30] > benchmarks/results/attention_parts.json

One layer of SmolLM2-135M's shape in bf16: 100 virtual tokens, 16 texts with lengths like SST-2's.
`flash` is torch's own kernel for CPUs on the three parts of it: texts behind the prefix, texts
on themselves (padded to the longest), the prefix on itself. Milliseconds, medians.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from adept_llm.packing.dense_prefix import dense_attention
from adept_llm.packing.kernels import sdpa_attention
from adept_llm.packing.layout import PackedLayout
from benchmarks.facts import facts
from benchmarks.on_cpu import hide_gpus

PREFIX, TEXTS, HEADS, GROUPS, WIDTH = 100, 16, 9, 3, 64
BF16, FP32 = torch.bfloat16, torch.float32


def median_ms(run: Callable[[], Any], rounds: int) -> float:
    """Of so many calls, some more before them."""
    taken = []
    for _ in range(rounds + 5):
        start = time.perf_counter()
        run()
        taken.append(1000 * (time.perf_counter() - start))
    return round(statistics.median(taken[5:]), 3)


def whole(kernel: Any, layout: PackedLayout, rounds: int) -> dict[str, float]:
    """Of a kernel of ours: forward, and forward with backward."""
    total = sum(layout.lengths)
    q, k, v = (
        torch.randn(total, heads, WIDTH, dtype=BF16, requires_grad=True)
        for heads in (HEADS, GROUPS, GROUPS)
    )
    weights = torch.randn(total, HEADS, WIDTH, dtype=BF16)

    def forward() -> Tensor:
        out: Tensor = kernel(q, k, v, layout, WIDTH**-0.5, 0.0)
        return out

    def both() -> None:
        torch.autograd.grad(forward(), (q, k, v), weights)

    return {"forward": median_ms(forward, rounds), "both": median_ms(both, rounds)}


def flash(shape: tuple[int, int, int, int], causal: bool, rounds: int) -> dict[str, float]:
    """Of torch's flash kernel on [batch, heads, queries, keys]: forward, and with backward."""
    batch, heads, queries, keys = shape
    q = torch.randn(batch, heads, queries, WIDTH, dtype=BF16, requires_grad=True)
    k, v = (
        torch.randn(batch, heads, keys, WIDTH, dtype=BF16, requires_grad=True) for _ in range(2)
    )
    weights = torch.randn_like(q)

    def forward() -> Tensor:
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)

    def both() -> None:
        torch.autograd.grad(forward(), (q, k, v), weights)

    return {"forward": median_ms(forward, rounds), "both": median_ms(both, rounds)}


def scores(dtype: torch.dtype, texts: int, rounds: int) -> float:
    """The product of all queries with the prefix's keys."""
    q = torch.randn(GROUPS, texts * HEADS // GROUPS, WIDTH, dtype=dtype)
    k = torch.randn(GROUPS, PREFIX, WIDTH, dtype=dtype)
    return median_ms(lambda: torch.bmm(q, k.transpose(1, 2)), rounds)


def main() -> None:
    """Print one JSON object."""
    hide_gpus()
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    rng = random.Random(0)
    lengths = [12 + min(56, int(rng.expovariate(1 / 14))) for _ in range(TEXTS)]
    layout, texts = PackedLayout.shared_prefix(PREFIX, lengths), sum(lengths)
    found = {
        "dense": whole(dense_attention, layout, rounds),
        "sdpa": whole(sdpa_attention, layout, rounds),
        "flash, behind the prefix": flash(
            (1, GROUPS, texts * HEADS // GROUPS, PREFIX), False, rounds
        ),
        "flash, texts": flash((TEXTS, HEADS, max(lengths), max(lengths)), True, rounds),
        "flash, prefix": flash((1, HEADS, PREFIX, PREFIX), True, rounds),
        "scores with the prefix": {
            "bfloat16": scores(BF16, texts, rounds),
            "float32": scores(FP32, texts, rounds),
        },
    }
    print(json.dumps({**facts(), "lengths": lengths, "ms": found}, indent=2))


if __name__ == "__main__":
    main()
