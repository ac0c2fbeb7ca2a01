"""K adapters trained in one packed row against K separate steps, on one base in one process.

    python -m benchmarks.concurrent --model DIR [--quantization nf4] [--dtype float32] [--check]

One row holds the batches of all, [P_1 | x.. | P_2 | x..]; nothing of one is seen by another, and
each has its own loss and its own rates. Rounds are interleaved, and the median of their ratios
counts. `--check` trains both ways instead and gives the relative differences of their losses.
"""

import argparse
import json
import platform
import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from adept_llm import AdeptConfig
from adept_llm.adapters import (
    AdeptEmbedding,
    SeveralAdapters,
    check_model,
    only,
    rows_of,
    several_of,
)
from adept_llm.adapters.initializers import vocab_rows
from adept_llm.adapters.injection import attach, describe_table
from adept_llm.base.loading import load_model
from adept_llm.data import Encoded
from adept_llm.packing import Batch, joined_batch, make_batcher, summed_loss
from benchmarks.on_cpu import hide_gpus

M, R = 20, 39
RATES = ((0.1, 0.003), (0.03, 0.001), (0.01, 0.01), (0.3, 0.0003))  # of prompt and offset

Losses = list[float]


def several(folder: str, dtype: str, quantization: str, count: int) -> Any:
    """A base with so many fresh adapters, in training mode."""
    model = load_model(folder, None, dtype, quantization)
    base, config = check_model(model), AdeptConfig("adept", M, R)
    table = describe_table(model, base.weight.detach())
    layers = {}
    for n in range(count):
        layer, generator = AdeptEmbedding(base, config, table), torch.Generator().manual_seed(n)
        start = vocab_rows(base.weight.detach(), M, generator).float() / layer.unit
        with torch.no_grad():
            layer.prompt.reset(generator, start.clone)
            layer.offset.reset(generator)
        layers[f"adapter{n}"] = layer
    return attach(model, SeveralAdapters(layers)).train()


def optimizers(model: Any) -> dict[str, torch.optim.Optimizer]:
    """AdamW for each adapter, with rates of its own."""
    return {
        name: torch.optim.AdamW(
            [
                {"params": list(layer.prompt_parameters().values()), "lr": rates[0]},
                {"params": list(layer.offset_parameters().values()), "lr": rates[1]},
            ],
            weight_decay=0.0,
        )
        for (name, layer), rates in zip(several_of(model).adapters.items(), RATES, strict=False)
    }


def step_together(
    model: Any, steppers: dict[str, torch.optim.Optimizer], batches: dict[str, Batch]
) -> Losses:
    """One step of all adapters by one pass; their losses."""
    row = joined_batch(list(batches.values()))
    spans = [batch["inputs"]["input_ids"].shape[1] for batch in batches.values()]
    labels = [batch["labels"] for batch in batches.values()]
    with rows_of(model, list(batches), spans):
        logits = model(**row["inputs"], use_cache=False).logits[0]
    parts = logits.split([len(own) for own in labels])
    losses = [summed_loss(p, own) / len(own) for p, own in zip(parts, labels, strict=True)]
    torch.stack(losses).sum().backward()
    for name in batches:
        steppers[name].step()
        steppers[name].zero_grad()
    return [loss.item() for loss in losses]


def step_apart(
    model: Any, steppers: dict[str, torch.optim.Optimizer], batches: dict[str, Batch]
) -> Losses:
    """One step of each adapter by a pass of its own; their losses."""
    losses = []
    for name, batch in batches.items():
        with only(model, name):
            logits = model(**batch["inputs"], use_cache=False).logits
        loss: Tensor = summed_loss(logits, batch["labels"]) / len(batch["labels"])
        loss.backward()
        steppers[name].step()
        steppers[name].zero_grad()
        losses.append(loss.item())
    return losses


Step = Callable[[Any, dict[str, torch.optim.Optimizer], dict[str, Batch]], Losses]


def drawn(rng: random.Random, count: int, vocab_size: int) -> list[Encoded]:
    """Random examples with lengths like those of SST-2's rows under a template."""
    lengths = [18 + min(60, int(rng.expovariate(1 / 16))) for _ in range(count)]
    return [
        Encoded([rng.randrange(3, vocab_size) for _ in range(n)], [5, 2], str(i), -1, 0)
        for i, n in enumerate(lengths)
    ]


def batches_of(model: Any, names: Sequence[str], size: int, seed: int) -> dict[str, Batch]:
    """A packed batch for each adapter, each drawn by itself."""
    with only(model, names[0]):
        batcher = make_batcher(model)
    assert batcher.packed
    words = several_of(model).weight.shape[0]
    rngs = {name: random.Random(f"{seed} {name}") for name in names}
    return {name: batcher(drawn(rng, size, words)) for name, rng in rngs.items()}


def losses_by(step: Step, args: argparse.Namespace, names: Sequence[str]) -> list[Losses]:
    """The losses of a run of some steps from the start."""
    model = several(args.model, args.dtype, args.quantization, len(names))
    steppers = optimizers(model)
    return [step(model, steppers, batches_of(model, names, 4, n)) for n in range(args.steps)]


def difference(losses: Sequence[float], reference: Sequence[float]) -> float:
    """The largest, relative."""
    return max(abs(a - b) / abs(b) for a, b in zip(losses, reference, strict=True))


def check(args: argparse.Namespace) -> dict[str, Any]:
    """Whether losses are those of separate runs; how far the first are from those in fp32."""
    names = [f"adapter{n}" for n in range(max(args.counts))]
    apart, together = (losses_by(step, args, names) for step in (step_apart, step_together))
    exact = argparse.Namespace(**vars(args) | {"dtype": "float32", "steps": 1})
    (fp32,) = losses_by(step_apart, exact, names)
    return {
        "steps": args.steps, "first_losses": apart[0], "last_losses": apart[-1],
        "first_step_relative_difference": difference(together[0], apart[0]),
        "apart_from_fp32": difference(apart[0], fp32),
        "together_from_fp32": difference(together[0], fp32),
        "largest_relative_difference": max(map(difference, together, apart)),
    }  # fmt: skip


def timed(step: Step, *given: Any) -> float:
    """Seconds that the processor spent on one step, which other programs do not change."""
    start = time.process_time()
    step(*given)
    return time.process_time() - start


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Processor time of K separate steps, over that of one together."""
    model = several(args.model, args.dtype, args.quantization, max(args.counts))
    steppers = optimizers(model)
    results: list[dict[str, Any]] = []
    for size in args.batches:
        seconds: dict[int, list[tuple[float, float]]] = {count: [] for count in args.counts}
        for turn in range(args.rounds + 1):
            for count, found in seconds.items():
                names = [f"adapter{n}" for n in range(count)]
                given = (model, steppers, batches_of(model, names, size, turn))
                steps = (step_apart, step_together)
                took = {step: timed(step, *given) for step in steps[:: 1 if turn % 2 else -1]}
                if turn:  # the first round warms up
                    found.append((took[step_apart], took[step_together]))
        results += [
            {
                "adapters": count, "batch_of_each": size,
                "seconds_apart": round(statistics.median(a for a, _ in found), 3),
                "seconds_together": round(statistics.median(b for _, b in found), 3),
                "together_is_faster_by": round(statistics.median(a / b for a, b in found), 3),
            }
            for count, found in seconds.items()
        ]  # fmt: skip
    return {"rounds": args.rounds, "results": results}


def main() -> None:
    """Print one JSON object."""
    hide_gpus()
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--quantization", default="none")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--batches", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--steps", type=int, default=10)
    args = parser.parse_args()
    found = check(args) if args.check else measure(args)
    what = {"model": args.model.rstrip("/").rpartition("/")[2], "dtype": args.dtype}
    where = {"cpu": platform.processor() or platform.machine(), "threads": torch.get_num_threads()}
    told = {**what, "quantization": args.quantization, "m": M, "r": R, **where}
    print(json.dumps({**told, "torch": torch.__version__, **found}))


if __name__ == "__main__":
    main()
