r"""SST-2 on a frozen base: ADePT, DePT, prompt tuning and zero-shot under one protocol.

    python -m benchmarks.sst2_methods --model DIR --data_dir DIR --output FILE.json

Every method has 100 * d parameters or fewer, the same steps and six to eight settings of its rates.
They are chosen with seed 0 on 1,000 rows held out of train; then each method is trained on all of
train with three other seeds and measured on validation. Finished runs are kept in the output file,
so that an interrupted benchmark goes on where it was.
"""

import argparse
import json
import platform
import random
import statistics
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import transformers

from adept_llm.adapters import AdeptConfig, inject_adapter
from adept_llm.base.loading import load_model, load_tokenizer
from adept_llm.cli.columns import print_columns
from adept_llm.data import Encoded, Encoder, Example
from adept_llm.evaluation.answers import AnswerMeasure
from adept_llm.files import write_whole
from adept_llm.packing import make_batcher
from adept_llm.tasks import get_task, load_hub_split
from adept_llm.training.arguments import AdeptTrainingArguments
from adept_llm.training.run import run

STEPS = 400
MAX_LENGTH = 96
HELD_OUT = 1000
SEEDS = (1, 2, 3)
WORDS = {"negative": "bad", "positive": "good"}

# name -> (method, m, r), prompt rates, offset rates: six to eight settings, in units of the rms
METHODS: dict[str, tuple[tuple[str, int, int | None], tuple[float, ...], tuple[float, ...]]] = {
    "adept (60, 19)": (("adept", 60, 19), (0.03, 0.3), (0.003, 0.01, 0.03, 0.1)),
    "adept (20, 39)": (("adept", 20, 39), (0.03, 0.3), (0.003, 0.01, 0.03, 0.1)),
    "adept (0, 49)": (("adept", 0, 49), (0.0,), (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)),
    "dept (60, 19)": (("dept", 60, 19), (0.1, 1.0), (0.003, 0.01, 0.03, 0.1)),
    "prompt tuning (100)": (
        ("prompt_tuning", 100, None), (0.01, 0.03, 0.1, 0.3, 0.5, 1.0, 3.0, 10.0), (0.0,),
    ),
}  # fmt: skip


def rows(data_dir: str, split: str) -> list[Example]:
    """SST-2 as a text that a language model would go on with: '.. It was very good'."""
    return [
        Example("", f"{e.input.strip()}. It was very", WORDS[e.target], e.id, tuple(WORDS.values()))
        for e in load_hub_split(get_task("sst2"), split, data_dir)
    ]


def encoded(model: str, data_dir: str, final: bool) -> tuple[list[Encoded], AnswerMeasure]:
    """Training rows, and the split to measure on: validation at last, rows of train before."""
    encoder = Encoder(load_tokenizer(model), "plain", MAX_LENGTH)
    train = rows(data_dir, "train")
    random.Random(0).shuffle(train)
    measured = rows(data_dir, "validation") if final else train[:HELD_OUT]
    kept = train if final else train[HELD_OUT:]
    return encoder.encode_all(kept)[0], AnswerMeasure.of(encoder, measured, batch_size=100)


def train(
    model: str, data_dir: str, name: str, prompt_rate: float, offset_rate: float, seed: int,
    steps: int = STEPS, threads: int = 1, units: str = "rms",
) -> dict[str, Any]:  # fmt: skip
    """One run; seed 0 is the search."""
    torch.set_num_threads(threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    method, m, r = METHODS[name][0]
    data, measure = encoded(model, data_dir, final=seed > 0)
    config = AdeptConfig(method, m, r, init_seed=seed, units=units)
    adapted = inject_adapter(load_model(model), config)
    batcher = make_batcher(adapted, "shared_prefix", MAX_LENGTH)
    with tempfile.TemporaryDirectory() as folder:
        args = AdeptTrainingArguments(
            output_dir=folder, learning_rate=prompt_rate, offset_learning_rate=offset_rate,
            max_steps=steps, save_strategy="no", report_to="none", logging_steps=steps,
            disable_tqdm=True, use_cpu=True, seed=seed,
        )  # fmt: skip
        _, result = run(adapted, args, data, batcher, measure)
    return {
        "name": name, "learning_rate": prompt_rate, "offset_learning_rate": offset_rate,
        "seed": seed, "steps": steps, "loss": result.loss,
        "before": result.before["accuracy"], "after": result.after["accuracy"],
        "trained_parameters": result.trained_parameters,
        "examples_per_second": result.examples_per_second,
    }  # fmt: skip


class Runs:
    """Finished runs, kept in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: list[dict[str, Any]] = []
        if path.is_file():
            self.done = json.loads(path.read_text())["runs"]

    def write(self, **more: Any) -> None:
        """All that is known so far."""
        content = {"steps": STEPS, **more, "runs": self.done}
        write_whole(self.path, (json.dumps(content, indent=1) + "\n").encode())

    def of(self, name: str, final: bool) -> list[dict[str, Any]]:
        """Runs of a method: of the search, or those that are reported."""
        return [r for r in self.done if r["name"] == name and (r["seed"] > 0) == final]

    def finish(self, args: argparse.Namespace, jobs: list[tuple[str, float, float, int]]) -> None:
        """Run those jobs that are not done, some at a time."""
        keys = ("name", "learning_rate", "offset_learning_rate", "seed")
        known = {tuple(r[k] for k in keys) for r in self.done}
        with ProcessPoolExecutor(args.workers, get_context("spawn")) as pool:
            futures = [
                pool.submit(train, args.model, args.data_dir, *job)
                for job in jobs
                if job not in known
            ]
            for future in as_completed(futures):
                self.done.append(future.result())
                self.write()
                print(json.dumps(self.done[-1]), flush=True)


def main() -> None:
    """Search, repeat, measure the speed, print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    runs = Runs(args.output)
    runs.finish(
        args, [(n, p, o, 0) for n, (_, ps, os) in METHODS.items() for p, o in product(ps, os)]
    )
    best = {name: max(runs.of(name, False), key=lambda r: r["after"]) for name in METHODS}
    rates = {n: (r["learning_rate"], r["offset_learning_rate"]) for n, r in best.items()}
    runs.finish(args, [(name, *rates[name], seed) for name in METHODS for seed in SEEDS])

    table = []
    for name in METHODS:
        final = runs.of(name, True)
        scores = [r["after"] for r in final]
        # alone on the machine, since runs side by side slow each other down
        speed = train(args.model, args.data_dir, name, *rates[name], seed=1, steps=30, threads=2)
        table.append({
            "method": name, "accuracy": statistics.mean(scores), "std": statistics.stdev(scores),
            "trained_parameters": final[0]["trained_parameters"],
            "examples_per_second": speed["examples_per_second"],
            "learning_rate": rates[name][0], "offset_learning_rate": rates[name][1],
        })  # fmt: skip
    zero_shot = runs.of("adept (0, 49)", True)[0]["before"]
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    runs.write(machine=platform.machine(), versions=versions, zero_shot=zero_shot, table=table)
    print_columns(
        ["method", "accuracy", "std", "parameters", "examples/s", "prompt rate", "offset rate"],
        [["zero-shot", f"{zero_shot:.3f}", "", "0", "", "", ""]]
        + [
            [t["method"], f"{t['accuracy']:.3f}", f"{t['std']:.3f}",
             f"{t['trained_parameters']:,}", f"{t['examples_per_second']:.0f}",
             f"{t['learning_rate']:g}", f"{t['offset_learning_rate']:g}"]
            for t in table
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
