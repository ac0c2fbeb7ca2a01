"""The measured peak of matrix products: what utilisation is a part of."""

from typing import Any

import torch

from benchmarks.gpu.setting import Setting

SIZES = ((4096, 4096, 4096), (8192, 8192, 8192), (16384, 8192, 8192))


def run(setting: Setting) -> dict[str, Any]:
    """TFLOP/s of large products, and of those that a micro-batch of the shape makes."""
    config = setting.config
    rows, width, inner = (
        setting.batch * setting.tokens,
        config.hidden_size,
        config.intermediate_size,
    )
    large = SIZES if setting.device.type == "cuda" else ((128, 128, 128),)
    own = ((rows, width, width), (rows, width, inner), (rows, inner, width))
    speeds = {"x".join(map(str, size)): speed(setting, *size) for size in (*large, *own)}
    return {"teraflops": speeds, "peak_teraflops": max(speeds.values())}


def peak(setting: Setting) -> float:
    """TFLOP/s of the fastest product."""
    return float(run(setting)["peak_teraflops"])


def speed(setting: Setting, rows: int, inner: int, columns: int) -> float:
    """TFLOP/s of [rows, inner] x [inner, columns] of random numbers; zeros would be faster."""
    left = torch.randn(rows, inner, device=setting.device, dtype=setting.dtype)
    right = torch.randn(inner, columns, device=setting.device, dtype=setting.dtype)
    calls = 10

    def several() -> None:
        for _ in range(calls):
            left @ right

    several()
    best = min(setting.seconds(several) for _ in range(5))
    return round(2 * rows * inner * columns * calls / best / 1e12, 4)
