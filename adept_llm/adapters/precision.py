"""How precisely a device computes: float64 where it can, float32 where it cannot.

Matrix products round differently for different numbers of rows. In float64 that is far below the
table's precision, so one token decoded alone, a prefill and the merged table give the same bits
(INV 7). Apple's MPS and some other devices have no float64; there the same rows may differ in
their last bits. Merging on the CPU, as `adept-llm merge` does, is exact everywhere.

A slow float64 is no reason to leave it. The adapter takes 4*d*r operations a token, a model of N
weights 2*N: for a 7B (d = 4096, r = 19) one 43,000th. By the vendors' figures a consumer GPU
computes a product in float64 some 130 times slower than one in bf16, which makes that 0.3 % of a
forward pass; nothing of this was measured.
"""

from functools import cache

import torch


@cache
def finest_dtype(device_type: str) -> torch.dtype:
    """float64, or float32 on a device that refuses float64; each type of device is asked once.

    Args:
        device_type: as in `tensor.device.type`.
    """
    try:
        torch.ones(1, device=device_type).to(torch.float64).add(1)
    except (TypeError, RuntimeError):
        return torch.float32
    return torch.float64
