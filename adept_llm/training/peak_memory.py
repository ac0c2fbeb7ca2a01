"""The most memory that a run has held: the column by which methods are compared.

On a GPU it is what PyTorch's allocator had reserved at most since the run began, which PEFT's
comparison of methods reports too; on a CPU the largest resident size of the process since it began,
with the interpreter, the libraries and what was read before.
"""

import resource
import sys
from pathlib import Path

import torch

GB = 1e9
STATUS = Path("/proc/self/status")


def start_counting(device: torch.device) -> None:
    """Forget what a GPU held before; what it holds now still counts."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_gb(device: torch.device) -> float:
    """The peak of this process so far, in units of 10^9 bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / GB
    return _peak_resident_size() / GB


def _peak_resident_size() -> int:
    """In bytes. Linux' getrusage also counts what a parent held when it started this process."""
    if STATUS.exists():
        lines = STATUS.read_text().splitlines()
        peak = next((line for line in lines if line.startswith("VmHWM:")), None)
        if peak:
            return int(peak.split()[1]) * 1024
    # KiB, but bytes on macOS
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
