r"""Rows per second of evaluation: label scoring and answers, beside PEFT's, on one and two ranks.

    python -m benchmarks.evaluation [--model DIR] [--data_dir SST2] [--dtype bfloat16] \
        [--rows 128] [--rounds 3] > benchmarks/results/evaluation.json

`stock` is what evaluation harnesses do with a PEFT model: rows sorted by length and padded, one
sequence for each label, or one for all labels where each is a single token. Answers are greedy, of
32 tokens. Two ranks have one thread each, as has the rank that they are compared with; loading is
not counted.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

from adept_llm.adapters import AdeptConfig, inject_adapter
from adept_llm.data import Encoded
from adept_llm.evaluation.generation import Decoding, generate
from adept_llm.evaluation.label_scoring import score_labels
from adept_llm.packing import make_batcher
from adept_llm.packing.collator import left_pad
from benchmarks.bases import arguments, base_model, name_of, rows_for
from benchmarks.facts import facts
from benchmarks.on_cpu import hide_gpus

BATCH, ANSWER, M = 32, 32, (20, 100)
LABELS = {"one token": [[5], [7]], "three tokens": [[5, 6, 8], [7, 8, 6]]}

Labels = list[list[int]]


def ours(model: str | None, dtype: torch.dtype, m: int, layout: str) -> tuple[Any, Any]:
    """An injected model and its batcher."""
    base = base_model(model, dtype)
    inject_adapter(base, AdeptConfig("prompt_tuning", m, 0))
    return base, make_batcher(base, layout)


def stock(model: str | None, dtype: torch.dtype, m: int) -> Any:
    """PEFT's prompt tuning."""
    import peft

    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=m)
    return peft.get_peft_model(base_model(model, dtype), config).eval()


def stock_scores(model: Any, rows: Sequence[Encoded], labels: Labels) -> list[torch.Tensor]:
    """Log-likelihoods of the labels, from padded rows."""
    one = all(len(ids) == 1 for ids in labels)
    scores: list[torch.Tensor] = []
    for start in range(0, len(rows), BATCH):
        prompts = [e.prompt_ids for e in rows[start : start + BATCH]]
        if one:
            last = _log_probabilities(model, prompts)[:, -1]
            scores += list(last[:, [ids[0] for ids in labels]])
        else:
            each = [p + ids[:-1] for p in prompts for ids in labels]
            targets = torch.tensor([ids for _ in prompts for ids in labels])
            found = _log_probabilities(model, each)[:, -targets.shape[1] :]
            picked = found.gather(-1, targets[..., None])[..., 0].sum(-1)
            scores += list(picked.view(len(prompts), len(labels)))
    return scores


def _log_probabilities(model: Any, rows: list[list[int]]) -> torch.Tensor:
    ids, mask = left_pad(rows, 0), left_pad([[1] * len(row) for row in rows], 0)
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=ids, attention_mask=mask).logits
    return logits.float().log_softmax(-1)


def stock_answers(model: Any, rows: Sequence[Encoded]) -> None:
    """Greedy continuations by generate."""
    for start in range(0, len(rows), BATCH):
        prompts = [e.prompt_ids for e in rows[start : start + BATCH]]
        with torch.no_grad():
            model.generate(
                input_ids=left_pad(prompts, 0),
                attention_mask=left_pad([[1] * len(row) for row in prompts], 0),
                max_new_tokens=ANSWER, min_new_tokens=ANSWER, do_sample=False, pad_token_id=0,
            )  # fmt: skip


def our_answers(model: Any, rows: Sequence[Encoded]) -> None:
    """The same by ours; an id that is never drawn ends none of them early."""
    prompts = [e.prompt_ids for e in rows]
    list(generate(model, prompts, model.config.vocab_size - 1, Decoding(ANSWER), BATCH))


def speeds(runs: dict[str, Callable[[], Any]], rows: int, rounds: int) -> dict[str, float]:
    """Rows per second of each, medians of rounds in which all take their turn."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for n in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if n:
                taken[name].append(time.perf_counter() - start)
    return {name: round(rows / statistics.median(times), 2) for name, times in taken.items()}


def one_process(args: argparse.Namespace, m: int) -> dict[str, Any]:
    """Rows per second behind m virtual tokens in this process, by task and way."""
    dtype = getattr(torch, args.dtype)
    rows = sorted(rows_for(args.model, args.data_dir, args.rows), key=lambda e: len(e.prompt_ids))
    packed, padded = (ours(args.model, dtype, m, x) for x in ("shared_prefix", "padded"))
    peer = stock(args.model, dtype, m)
    found: dict[str, Any] = {}
    for name, labels in LABELS.items():
        ids = [labels] * len(rows)
        runs: dict[str, Callable[[], Any]] = {
            "packed": partial(score_labels, *packed, rows, ids, BATCH),
            "padded": partial(score_labels, *padded, rows, ids, BATCH),
            "stock": partial(stock_scores, peer, rows, labels),
        }
        found[f"labels of {name}"] = speeds(runs, len(rows), args.rounds)
    answered = rows[: args.rows // 4]
    answers: dict[str, Callable[[], Any]] = {
        "packed": partial(our_answers, packed[0], answered),
        "stock": partial(stock_answers, peer, answered),
    }
    return {**found, "answers": speeds(answers, len(answered), args.rounds)}


def rank(index: int, world: int, meeting: str, settings: dict[str, Any], output: str) -> None:
    """One of several processes that score the same rows together; the first writes its seconds."""
    torch.set_num_threads(1)
    if world > 1:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{meeting}", rank=index, world_size=world
        )
    model, batcher = ours(
        settings["model"], getattr(torch, settings["dtype"]), 100, "shared_prefix"
    )
    rows = rows_for(settings["model"], settings["data_dir"], settings["rows"])
    labels = [LABELS["three tokens"]] * len(rows)
    taken = []
    for _ in range(settings["rounds"] + 1):
        start = time.perf_counter()
        scores = score_labels(model, batcher, rows, labels, BATCH // 2)
        taken.append(time.perf_counter() - start)
    if not index:
        speed = len(rows) / statistics.median(taken[1:])
        found = {"rows_per_second": round(speed, 2), "sum": float(torch.stack(scores).sum())}
        Path(output).write_text(json.dumps(found))


def several_ranks(args: argparse.Namespace) -> dict[str, Any]:
    """One rank and two, and whether they found the same."""
    settings = vars(args)
    found = {}
    for world in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            output, meeting = os.path.join(folder, "found"), os.path.join(folder, "meeting")
            torch.multiprocessing.spawn(rank, (world, meeting, settings, output), nprocs=world)  # type: ignore[no-untyped-call]
            found[world] = json.loads(Path(output).read_text())
    return {
        "1": found[1]["rows_per_second"],
        "2": found[2]["rows_per_second"],
        "faster": round(found[2]["rows_per_second"] / found[1]["rows_per_second"], 2),
        "largest_difference_of_the_sum": abs(found[1]["sum"] - found[2]["sum"]),
    }


def main() -> None:
    """Print one JSON object."""
    hide_gpus()
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    ranks = several_ranks(args)
    found = {
        **facts(),
        "model": name_of(args.model),
        "dtype": args.dtype,
        "rows": args.rows,
        "unit": "rows per second",
        "one_process": {m: one_process(args, m) for m in M},
        "ranks": ranks,
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
