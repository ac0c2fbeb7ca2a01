"""Loss of many targets: peak memory and time against the vocabulary, on a CPU.

    python -m benchmarks.long_targets [--targets 2400] [--output FILE]

Hidden states of a width of 576 (SmolLM2-135M's) under a frozen bf16 head; 2,400 targets are a
batch of 16 answers of 150 tokens. `whole` is the way of transformers: all logits, then the loss.
`ours` is `adept_llm.packing.losses`. `torch` is torch 2.13's `linear_cross_entropy` in chunks. Each
figure is that of a process of its own, the best of three; memory is what a forward and a backward
pass add to the peak of the process.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from adept_llm.cli.columns import print_columns
from adept_llm.packing import losses
from benchmarks.on_cpu import hide_gpus

WIDTH, VOCABULARIES = 576, (8192, 49152, 128256)
HAS_TORCHS = hasattr(F, "linear_cross_entropy")  # since torch 2.13
WAYS = ("whole", "ours", *(["torch"] if HAS_TORCHS else []))


def loss(way: str, hidden: Tensor, head: torch.nn.Linear, labels: Tensor) -> Tensor:
    """Summed cross-entropy."""
    if way == "whole":
        return losses.summed_loss(head(hidden), labels)
    if way == "torch":
        options = torch.nn.LinearCrossEntropyOptions()
        return F.linear_cross_entropy(hidden, head.weight, labels, reduction="sum", options=options)
    rows = max(1, losses.MOST_LOGITS // len(head.weight))
    return losses.chunked_losses(hidden, labels, head, rows).sum()


def peak_mb() -> float:
    """Largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(way: str, vocabulary: int, targets: int) -> dict[str, float]:
    """Memory and time of one way, and its results' first numbers, in this process."""
    torch.manual_seed(0)
    head = torch.nn.Linear(WIDTH, vocabulary, bias=False, dtype=torch.bfloat16)
    head.requires_grad_(False)
    labels = torch.randint(vocabulary, (targets,))
    small = torch.randn(8, WIDTH, dtype=torch.bfloat16, requires_grad=True)
    loss(way, small, head, labels[:8]).backward()  # kernels and threads are made
    hidden = torch.randn(targets, WIDTH, dtype=torch.bfloat16, requires_grad=True)
    before, start = peak_mb(), time.perf_counter()
    found = loss(way, hidden, head, labels)
    found.backward()
    assert hidden.grad is not None
    return {
        "seconds": round(time.perf_counter() - start, 2),
        "peak_mb": round(peak_mb() - before),
        "loss": found.item(),
        "gradient_norm": hidden.grad.float().norm().item(),
    }


def main() -> None:
    """Print a table; write JSON where a file is named."""
    hide_gpus()
    parser = argparse.ArgumentParser()
    parser.add_argument("--targets", type=int, default=2400)
    parser.add_argument("--output")
    parser.add_argument("--one", nargs=2, metavar=("WAY", "VOCABULARY"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one[0], int(args.one[1]), args.targets)))
        return
    if not HAS_TORCHS:
        print(f"torch: {torch.__version__} has no linear_cross_entropy, as 2.13 has; left out")
    results = []
    for vocabulary in VOCABULARIES:
        for way in WAYS:
            command = [sys.executable, "-m", "benchmarks.long_targets", "--one", way]
            command += [str(vocabulary), "--targets", str(args.targets)]
            runs = [
                json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
                for _ in range(3)
            ]
            best = min(runs, key=lambda run: run["seconds"])
            results.append({"vocabulary": vocabulary, "way": way, **best})
    rows = [[f"{r['vocabulary']:,}", r["way"], f"{r['peak_mb']:.0f}", f"{r['seconds']:.2f}",
             f"{r['loss']:.2f}", f"{r['gradient_norm']:.4f}"] for r in results]  # fmt: skip
    print_columns(["vocabulary", "way", "peak MB", "seconds", "loss", "gradient"], rows)
    facts = {
        "date": time.strftime("%Y-%m-%d"), "targets": args.targets, "width": WIDTH,
        "cpu": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "threads": torch.get_num_threads(), "torch": torch.__version__,
    }  # fmt: skip
    if args.output:
        Path(args.output).write_text(json.dumps({**facts, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
