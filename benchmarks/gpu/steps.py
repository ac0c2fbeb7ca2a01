"""Steps of training: tokens/s, utilisation, and peaks of memory against the estimate."""

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from adept_llm.adapters import AdeptConfig, inject_adapter
from adept_llm.base.memory import estimate
from adept_llm.data import Encoded
from adept_llm.packing import Batch, make_batcher, token_losses
from benchmarks.gpu import matmul
from benchmarks.gpu.random_base import random_base
from benchmarks.gpu.setting import Setting, layer_parameters

# examples, part of the longest text, packing, checkpointing, part of a text that is learnt
GRID = (
    (0.25, 1.0, "shared_prefix", False, 0),
    (1.0, 1.0, "shared_prefix", False, 0),
    (1.0, 1.0, "shared_prefix", True, 0),
    (1.0, 0.25, "shared_prefix", False, 0),
    (0.25, 1.0, "padded", False, 0),
    (0.25, 1.0, "shared_prefix", False, 1),
)
Step = Callable[[Sequence[Encoded]], None]


def train(
    setting: Setting, quantization: str, packing: str, checkpointing: bool, part: float = 1.0
) -> dict[str, Any]:
    """ADePT as it trains here, on texts of changing length.

    Args:
        setting: the setting.
        quantization: none or nf4.
        packing: shared_prefix or padded.
        checkpointing: of gradients.
        part: of the longest text's length.
    """
    step = step_of(setting, quantization, packing, checkpointing)
    return timed(setting, step, part)


def step_of(setting: Setting, quantization: str, packing: str, checkpointing: bool) -> Step:
    """A step of training: loss, gradients, AdamW."""
    model = inject_adapter(random_base(setting, quantization), adapter_of(setting)).train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    batcher = make_batcher(model, packing, setting.tokens)

    def step(texts: Sequence[Encoded]) -> None:
        batch = on_device(batcher(texts), setting.device)
        token_losses(model, batch["inputs"], batch["labels"]).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def timed(setting: Setting, step: Step, part: float = 1.0) -> dict[str, Any]:
    """Seconds of the first step, then tokens/s of the rest; virtual tokens and pads do not count.

    Utilisation is 4 P tokens/s, what a frozen base needs (a forward pass, and gradients of
    activations but not of weights), over the measured peak of matrix products.
    """
    batches = [texts(setting, n, part) for n in range(1 + setting.rounds)]
    first = setting.seconds(lambda: step(batches[0]))
    setting.forget_peak()
    taken = [setting.seconds(partial(step, batch)) for batch in batches[1:]]
    tokens = sum(len(t.prompt_ids) + len(t.target_ids) for batch in batches[1:] for t in batch)
    speed, peak = tokens / sum(taken), setting.peak()
    fastest = matmul.peak(setting)
    flops = 4 * layer_parameters(setting.config) * speed / 1e12
    return {
        "first_step_s": round(first, 2),
        "steps_s": [round(each, 4) for each in taken],
        "tokens_per_second": round(speed, 1),
        "teraflops": float(f"{flops:.4g}"),
        "peak_teraflops": fastest,
        "utilisation": float(f"{flops / fastest:.3g}"),
        "peak_gib": round(peak / 2**30, 2) if peak else None,
    }


def memory(setting: Setting, quantization: str) -> dict[str, Any]:
    """Peaks of steps with texts of the longest length, against `adept-llm estimate`."""
    base: Any = None
    rows = []
    for examples, part, packing, checkpointing, learnt_part in GRID:
        batch, tokens = max(1, int(setting.batch * examples)), int(setting.tokens * part)
        learnt = max(2, int((tokens - 1) * learnt_part))
        base = None  # freed before the next one is made
        setting.forget_peak()
        base = step_of(setting, quantization, packing, checkpointing)
        rows_of = [Encoded([3] * (tokens - learnt), [4] * learnt, "", -1, 0)] * batch
        row: dict[str, Any] = {
            "batch": batch, "tokens": tokens, "packing": packing, "checkpointing": checkpointing,
            "learnt": learnt,
        }  # fmt: skip
        needs = estimate(
            setting.config, adapter_of(setting), setting.dtype, quantization, batch, tokens,
            packing, checkpointing, "target" if learnt == 2 else "all",
            gpu=setting.device.type == "cuda",
        )  # fmt: skip
        row["estimated_gib"] = round(needs.total / 2**30, 3) if needs else None
        try:
            setting.forget_peak()
            base(rows_of)
            base(rows_of)
        except torch.OutOfMemoryError:
            row["error"] = "out of memory"
        peak = setting.peak()
        if peak and needs:
            row["peak_gib"] = round(peak / 2**30, 3)
            row["reserved_gib"] = round(torch.cuda.max_memory_reserved() / 2**30, 3)
            row["off"] = round(needs.total / peak - 1, 3)
        rows.append(row)
    return {"steps": rows}


def texts(setting: Setting, seed: int, part: float = 1.0) -> list[Encoded]:
    """A micro-batch of random words, each text with at least half of the longest length."""
    draw, longest = random.Random(seed), int(setting.tokens * part)
    words = range(3, setting.config.vocab_size)
    return [
        Encoded(draw.choices(words, k=draw.randint(longest // 2, longest) - 2), [5, 2], "", -1, 0)
        for _ in range(setting.batch)
    ]


def adapter_of(setting: Setting) -> AdeptConfig:
    """ADePT of the default sizes, but for the prompt's length."""
    return AdeptConfig("adept", setting.virtual, 19)


def on_device(batch: Batch, device: torch.device) -> Batch:
    """A micro-batch where it is computed."""
    inputs = {
        name: value.to(device) if isinstance(value, torch.Tensor) else value
        for name, value in batch["inputs"].items()
    }
    return {**batch, "inputs": inputs, "labels": batch["labels"].to(device)}
