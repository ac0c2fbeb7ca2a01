r"""Where a packed training step spends its time, and what compiling the frozen layers changes.

    python -m benchmarks.step_profile [--model DIR] [--data_dir SST2] [--compile] \
        > benchmarks/results/step_profile.json

Times are torch.profiler's own times of operations: forward and backward pass of ADePT, no
optimizer. `--compile` also measures steps with each decoder layer under torch.compile(dynamic=True)
and attention left as it is: attention's plan is a Python object, which differs from step to step.
"""

import json
import statistics
import time
from collections import Counter
from typing import Any

import torch
import transformers
from torch.profiler import ProfilerActivity, profile

from adept_llm.adapters import AdeptConfig, inject_adapter
from adept_llm.compat.transformers import register_attention
from adept_llm.data import Encoded
from adept_llm.packing import Batcher, make_batcher, token_losses
from adept_llm.packing.attention import ATTENTION, shared_prefix_attention
from adept_llm.packing.compiled import compile_layers
from benchmarks.bases import arguments, base_model, name_of, rows_for
from benchmarks.facts import facts
from benchmarks.on_cpu import hide_gpus

BATCH, STEPS, WARM = 16, 8, 2
PRODUCTS = {"aten::mm", "aten::addmm"}
COPIES = {"aten::copy_", "aten::cat", "aten::index_select", "aten::fill_", "aten::clone"}


def step(model: Any, batcher: Batcher, examples: list[Encoded]) -> None:
    """Forward and backward pass."""
    batch = batcher(examples)
    token_losses(model, batch["inputs"], batch["labels"]).sum().backward()  # type: ignore[no-untyped-call]
    model.zero_grad()


def kind(event: Any) -> str:
    """Of an operation: attention's own, a frozen product, a copy, or the rest."""
    parent = event
    while parent is not None:
        if parent.name in ("_Dense", "_DenseBackward"):
            return "attention"
        parent = parent.cpu_parent
    if event.name in PRODUCTS:
        return "frozen products"
    return "copies" if event.name in COPIES else "elementwise, norms, dispatch"


def shares(model: Any, batcher: Batcher, batches: list[list[Encoded]]) -> dict[str, float]:
    """Part of all operations' own time by kind."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for batch in batches:
            step(model, batcher, batch)
    taken: Counter[str] = Counter()
    for event in found.events() or ():
        taken[kind(event)] += event.self_cpu_time_total
    return {name: round(time / taken.total(), 3) for name, time in taken.most_common()}


def median_ms(model: Any, batcher: Batcher, batches: list[list[Encoded]]) -> tuple[float, float]:
    """Of the steps behind the first ones, and of the first."""
    taken = []
    for batch in batches:
        start = time.perf_counter()
        step(model, batcher, batch)
        taken.append(1000 * (time.perf_counter() - start))
    return round(statistics.median(taken[WARM:]), 1), round(taken[0], 1)


def compiled(model: Any, batcher: Batcher, batches: list[list[Encoded]]) -> dict[str, float]:
    """Steps with and without compiled layers, in one process."""
    eager, _ = median_ms(model, batcher, batches)
    compile_layers(model)
    compiling = median_ms(model, batcher, batches)[1]
    return {
        "eager_ms": eager,
        "compiled_ms": median_ms(model, batcher, batches)[0],
        "first_step_s": round(compiling / 1000, 1),
    }


def main() -> None:
    """Print one JSON object."""
    hide_gpus()
    parser = arguments(__doc__)
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    rows = rows_for(args.model, args.data_dir, STEPS * BATCH)
    batches = [rows[n : n + BATCH] for n in range(0, len(rows), BATCH)]
    found: dict[str, Any] = {}
    for m in (20, 100):
        model = base_model(args.model, getattr(torch, args.dtype))
        inject_adapter(model, AdeptConfig("adept", m, 39))
        batcher = make_batcher(model.train(), "shared_prefix")
        median, _ = median_ms(model, batcher, batches)
        found[str(m)] = {"step_ms": median, "shares": shares(model, batcher, batches)}
        if args.compile:
            found[str(m)]["layers"] = compiled(model, batcher, batches)
            register_attention(ATTENTION, shared_prefix_attention)
    name = name_of(args.model)
    print(
        json.dumps(
            {**facts(), "model": name, "dtype": args.dtype, "batch": BATCH, "m": found}, indent=2
        )
    )


if __name__ == "__main__":
    main()
