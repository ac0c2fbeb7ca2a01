"""Peak memory against a known allocation."""

import subprocess
import sys

# in a process of its own: the peak of this one was reached long ago
CODE = """
import torch
from adept_llm.training.peak_memory import peak_memory_gb
before = peak_memory_gb(torch.device("cpu"))
torch.ones(75_000_000)
print(before, peak_memory_gb(torch.device("cpu")))
"""


def test_a_passing_allocation_is_in_the_peak_in_gb():
    """300 MB that were freed again; KiB for bytes, or GiB for GB, would show."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    before, after = map(float, done.stdout.split())
    assert 0.05 < before < 2 and 0.28 < after - before < 0.33
