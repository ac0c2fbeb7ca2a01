"""Generation with several adapters on one base: in one batch against one adapter at a time.

    python -m benchmarks.many_adapters --model DIR

Also what naming the adapter costs where there is one, and what the shared prompt saves over stock
`generate` with [P][text] in each row. Seconds are the processor's; rounds are interleaved, and the
median of their ratios counts.
"""

import argparse
import json
import platform
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from adept_llm.adapters import only, rows_of, several_of
from adept_llm.evaluation.generation import Decoding, generate
from adept_llm.packing.collator import left_pad
from benchmarks.concurrent import M, R, several
from benchmarks.on_cpu import hide_gpus

ROWS, NEW, COUNT = 16, 16, 4


def main() -> None:
    """Print one JSON object."""
    hide_gpus()
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    model = several(args.model, "auto", "none", COUNT).eval()
    rng, words = random.Random(0), several_of(model).weight.shape[0]
    prompts = [[rng.randrange(3, words) for _ in range(rng.randint(8, 40))] for _ in range(ROWS)]
    names = list(several_of(model).names)
    owners = [names[n % COUNT] for n in range(ROWS)]
    never = words - 1  # an EOS that is not expected: all answers have the same length

    def answer(texts: list[list[int]], **whose: Any) -> None:
        list(generate(model, texts, never, Decoding(NEW), ROWS, **whose))

    def alone() -> None:
        with only(model, names[0]):
            answer(prompts)

    def one_at_a_time() -> None:
        for name in names:
            own = [text for text, owner in zip(prompts, owners, strict=True) if owner == name]
            answer(own, adapters=[name] * len(own))

    def stock() -> None:
        virtual = list(range(words, words + M))
        rows = [virtual + text for text in prompts]
        mask = left_pad([[1] * len(row) for row in rows], 0)
        with torch.no_grad(), rows_of(model, owners):
            config = Decoding(NEW).config(never)
            model.generate(left_pad(rows, 0), attention_mask=mask, generation_config=config)

    ways: dict[str, Callable[[], None]] = {
        "one adapter, not named": alone,
        "one adapter, named": lambda: answer(prompts, adapters=names[:1] * ROWS),
        "four in one batch": lambda: answer(prompts, adapters=owners),
        "four one at a time": one_at_a_time,
        "four in one batch, stock generate": stock,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(args.rounds + 1):
        for name, way in ways.items():
            start = time.process_time()
            way()
            if turn:  # the first round warms up
                seconds[name].append(time.process_time() - start)

    def ratio(slow: str, fast: str) -> float:
        pairs = zip(seconds[slow], seconds[fast], strict=True)
        return round(statistics.median(a / b for a, b in pairs), 3)

    told = {
        "model": args.model.rstrip("/").rpartition("/")[2], "rows": ROWS, "new_tokens": NEW,
        "m": M, "r": R, "cpu": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(), "torch": torch.__version__, "rounds": args.rounds,
        "seconds": {name: round(statistics.median(found), 3) for name, found in seconds.items()},
        "naming_costs": ratio("one adapter, named", "one adapter, not named"),
        "one_batch_is_faster_by": ratio("four one at a time", "four in one batch"),
        "shared_prompt_is_faster_by": ratio(
            "four in one batch, stock generate", "four in one batch"
        ),
    }  # fmt: skip
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
