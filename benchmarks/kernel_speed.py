"""Attention kernels on a CPU: examples per second of training and of label scoring.

    python -m benchmarks.kernel_speed --model DIR --data_dir DIR [--dtype bfloat16] [--rounds 12]

One process and one model; each batch of SST-2 is computed with each kernel in turn, the median of
the rounds counts. A training step is a forward and a backward pass. `cpu` counts processor time of
all threads, which other work on the machine changes least; `wall` is what a clock shows.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import transformers

from adept_llm.adapters import AdeptConfig, inject_adapter
from adept_llm.data import Encoded, Encoder
from adept_llm.evaluation.label_scoring import score_labels
from adept_llm.packing import Batcher, attention, make_batcher, summed_loss
from adept_llm.packing.dense_prefix import dense_attention
from adept_llm.packing.kernels import Kernel, sdpa_attention
from adept_llm.tasks import get_task, load_split

BATCH = 16
KERNELS: dict[str, Kernel] = {"sdpa": sdpa_attention, "dense": dense_attention}


def use(kernel: Kernel) -> None:
    """Let all models take one kernel, whatever would be chosen."""
    vars(attention)["choose_kernel"] = lambda query, layout, dropout: kernel


def train_step(model: Any, batcher: Batcher, batch: list[Encoded]) -> None:
    """One forward and backward pass."""
    inputs = batcher(batch)
    logits = model(**inputs["inputs"], use_cache=False).logits
    summed_loss(logits, inputs["labels"]).backward()


def speeds(run: Callable[[list[Encoded]], Any], data: list[Encoded], rounds: int) -> dict[str, Any]:
    """Examples per second by kernel, of the clock and of processor time."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in KERNELS}
    for n in range(rounds + 1):
        first = n * BATCH % (len(data) - BATCH + 1)
        for name, kernel in KERNELS.items():
            use(kernel)
            wall, cpu = time.perf_counter(), time.process_time()
            run(data[first : first + BATCH])
            taken[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {
        name: {
            kind: round(BATCH / statistics.median(each), 2)
            for kind, each in zip(("wall", "cpu"), zip(*times[1:], strict=True), strict=True)
        }
        for name, times in taken.items()
    }


def main() -> None:
    """Print one JSON object in one line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--rounds", type=int, default=12)
    args = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.model)
    rows = load_split(get_task("sst2"), "train", args.data_dir, limit=20 * BATCH)
    data = Encoder(tokenizer, "plain", 256).encode_all(rows)[0]
    # a label of two tokens stands behind its text, one of one token needs no place of its own
    labels = [[5, 6], [7, 8]]
    results = []
    for m in (20, 100):
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            args.model, dtype=getattr(torch, args.dtype)
        )
        inject_adapter(model, AdeptConfig("adept", m, 19))
        batcher = make_batcher(model, "shared_prefix")

        def train(batch: list[Encoded], model: Any = model, batcher: Batcher = batcher) -> None:
            model.train()
            train_step(model, batcher, batch)

        def score(batch: list[Encoded], model: Any = model, batcher: Batcher = batcher) -> None:
            score_labels(model, batcher, batch, [labels] * len(batch))

        results.append(
            {
                "m": m,
                "training": speeds(train, data, args.rounds),
                "label_scoring": speeds(score, data, args.rounds),
            }
        )
    lengths = [len(e.prompt_ids) + len(e.target_ids) for e in data]
    facts = {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "threads": torch.get_num_threads(),
        "dtype": args.dtype,
        "batch": BATCH,
        "mean_tokens": round(statistics.mean(lengths), 1),
        "longest": max(lengths),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "rounds": args.rounds,
    }
    print(json.dumps({**facts, "unit": "examples per second", "results": results}))


if __name__ == "__main__":
    main()
