"""Measured peaks of training steps against `adept-llm estimate`, on a CPU.

    python -m benchmarks.memory [--only WORD] [--output benchmarks/results/memory.json]

Each case is a process of its own: random weights of a known shape, two steps with AdamW as training
computes them. Two peaks are told, and what the estimate says of each:

`resident` is what the process's resident size has grown by at most since before the weights were
made, against the estimate's total. glibc must hand freed memory back at once for that: by default
it keeps it for later, and the size tells of the past.

`step` is what PyTorch's own allocator held for a step alone, without weights and optimizer, by its
profiler, against the estimate's activations. It is exact, and the harder of the two: no weights
hide an error.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from adept_llm.adapters import AdeptConfig, inject_adapter
from adept_llm.base.loading import DTYPES
from adept_llm.base.memory import estimate
from adept_llm.cli.columns import print_columns
from adept_llm.data import Encoded
from adept_llm.packing import Batch, make_batcher, token_losses
from benchmarks.facts import facts
from benchmarks.on_cpu import hide_gpus

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
# freed memory goes back to the kernel: from 64 KiB on it is mapped on its own, the rest is trimmed
GLIBC = {
    "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_TOP_PAD_": "0", "MALLOC_MMAP_MAX_": "1000000", "MALLOC_ARENA_MAX": "1",
}  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        "vocab_size": 256, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 2,
    },
    "22M": {
        "vocab_size": 8192, "hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 6,
        "num_attention_heads": 8, "tie_word_embeddings": True,
    },
    "SmolLM2-135M": {
        "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
        "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
        "tie_word_embeddings": True,
    },
    "416M": {
        "vocab_size": 32000, "hidden_size": 1024, "intermediate_size": 2816,
        "num_hidden_layers": 28, "num_attention_heads": 16, "tie_word_embeddings": False,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A micro-batch on a base.

    Attributes:
        learnt: Target tokens of each text.
    """

    shape: str
    dtype: str
    batch: int
    tokens: int
    virtual: int = 60
    packing: str = "shared_prefix"
    checkpointing: bool = False
    learnt: int = 2

    def __str__(self) -> str:
        """One line."""
        words = [self.shape, self.dtype, f"{self.batch} x {self.tokens}", f"m {self.virtual}"]
        words += [self.packing] * (self.packing == "padded")
        words += ["checkpointing"] * self.checkpointing
        words += [f"{self.learnt} learnt"] * (self.learnt > 2)
        return ", ".join(words)


CASES = (
    Case("22M", "float32", 32, 48),
    Case("22M", "float32", 32, 48, packing="padded"),
    Case("22M", "bfloat16", 32, 256),
    Case("SmolLM2-135M", "float32", 8, 48),
    Case("SmolLM2-135M", "bfloat16", 8, 48),
    Case("SmolLM2-135M", "bfloat16", 32, 48),
    Case("SmolLM2-135M", "bfloat16", 32, 48, virtual=20),
    Case("SmolLM2-135M", "bfloat16", 32, 48, checkpointing=True),
    Case("SmolLM2-135M", "bfloat16", 16, 48, packing="padded"),
    Case("SmolLM2-135M", "bfloat16", 16, 48, packing="padded", checkpointing=True),
    Case("SmolLM2-135M", "bfloat16", 8, 256),
    Case("SmolLM2-135M", "bfloat16", 8, 256, checkpointing=True),
    Case("SmolLM2-135M", "bfloat16", 8, 256, learnt=255),
    Case("SmolLM2-135M", "bfloat16", 2, 256, learnt=255),
    Case("SmolLM2-135M", "bfloat16", 1, 1024),
    Case("416M", "bfloat16", 8, 64),
    Case("416M", "float32", 4, 128, checkpointing=True),
)


def main() -> None:
    """Print a table, and write JSON where a file is named."""
    hide_gpus()
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", default="", help="cases whose line has this word")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(Case(**json.loads(given.one)))))
        return
    results = []
    for case in (case for case in CASES if given.only in str(case)):
        own = [sys.executable, "-m", "benchmarks.memory", "--one", json.dumps(asdict(case))]
        done = subprocess.run(
            own, check=True, capture_output=True, text=True, env={**os.environ, **GLIBC}
        )
        found = json.loads(done.stdout.splitlines()[-1])
        results.append({"case": str(case), **found, **compared(case, found)})
        print(f"{case}: {results[-1]}", file=sys.stderr, flush=True)
    keys = ("resident_mb", "estimated_mb", "off", "step_mb", "estimated_step_mb", "step_off")
    print_columns(["case", *keys], [[r["case"], *(f"{r[k]:,}" for k in keys)] for r in results])
    if given.output:
        given.output.write_text(json.dumps({**facts(), "results": results}, indent=1) + "\n")


def compared(case: Case, found: dict[str, float]) -> dict[str, float]:
    """What the estimate says, and by which part it is above the measured peak (below: negative)."""
    needs = estimate(
        config_of(case.shape), adapter_of(case), DTYPES[case.dtype], "none", case.batch,
        case.tokens, case.packing, case.checkpointing, "target" if case.learnt == 2 else "all",
        gpu=False,
    )  # fmt: skip
    assert needs is not None
    total, step = megabytes(needs.total), megabytes(needs.activations)
    return {
        "estimated_mb": total, "off": round(total / found["resident_mb"] - 1, 3),
        "estimated_step_mb": step, "step_off": round(step / found["step_mb"] - 1, 3),
    }  # fmt: skip


def measure(case: Case) -> dict[str, float]:
    """Both peaks of this process, in units of 10^6 bytes."""
    # libraries, kernels and threads are there
    allocated(step_of(Case("tiny", case.dtype, 2, 16, 5, case.packing, case.checkpointing)))
    gc.collect()
    before = resident("VmRSS")
    step = step_of(case)
    CLEAR.write_text("5")  # forgets the peak
    step()
    step()
    return {"resident_mb": megabytes(resident("VmHWM") - before), "step_mb": allocated(step)}


def step_of(case: Case) -> Callable[[], None]:
    """A step of training: loss, gradients, AdamW."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_config(config_of(case.shape), dtype=DTYPES[case.dtype])
    model = inject_adapter(base, adapter_of(case)).train()
    if case.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    prompt, target = [3] * (case.tokens - case.learnt), [4] * case.learnt
    batcher = make_batcher(model, case.packing, case.tokens)
    batch: Batch = batcher([Encoded(prompt, target, "", -1, 0)] * case.batch)

    def step() -> None:
        token_losses(model, batch["inputs"], batch["labels"]).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def allocated(step: Callable[[], None]) -> float:
    """Most that PyTorch's allocator held of what was asked for in a step."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step()
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        profiled.export_chrome_trace(file.name)
        events = json.loads(Path(file.name).read_text())["traceEvents"]
    return megabytes(max(e["args"]["Total Allocated"] for e in events if e["name"] == "[memory]"))


def config_of(shape: str) -> Any:
    """A Llama's."""
    from transformers import LlamaConfig

    return LlamaConfig(max_position_embeddings=2048, **SHAPES[shape])


def adapter_of(case: Case) -> AdeptConfig:
    """ADePT with as many virtual tokens."""
    return AdeptConfig("adept", case.virtual, 19)


def resident(name: str) -> int:
    """VmRSS, the resident size, or VmHWM, its peak, in bytes."""
    line = next(one for one in STATUS.read_text().splitlines() if one.startswith(name))
    return int(line.split()[1]) * 1024


def megabytes(size: float) -> float:
    """In units of 10^6 bytes."""
    return round(size / 1e6, 1)


if __name__ == "__main__":
    main()
