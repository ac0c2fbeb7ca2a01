"""Ranks on two nodes with a slow link between them: seconds of a step, and what the model says.

    python -m benchmarks.scaling [--steps 8] [--megabits 200 1000 0] [--output FILE]

Nodes are network namespaces on this machine, see links.py, so root is needed; 0 megabits is the
link as it is. Each rank has one thread. Each step is followed by one that only computes, on a whole
copy of the base; medians of both count. `python -m benchmarks.scaling.table` shows the file.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from benchmarks.facts import facts
from benchmarks.on_cpu import hide_gpus
from benchmarks.scaling.links import ADDRESSES, DEVICE, UNLIMITED, cabled_nodes, inside
from benchmarks.scaling.table import RESULT, counted, in_words, timed

ROOT = Path(__file__).parents[2]
TEXTS, TOKENS = 4, 64
SHAPE: dict[str, Any] = {
    "vocab_size": 2048, "hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 32,
    "num_attention_heads": 4, "max_position_embeddings": 256,
}  # fmt: skip
TIMED = ("replicated", "replicated NF4", "ZeRO-3", "FSDP2")
# what is sent is counted here, the time of four ranks on two cores means nothing
COUNTED: tuple[dict[str, Any], ...] = (
    {"variant": "ZeRO-3", "checkpointing": True},
    {"variant": "FSDP2", "checkpointing": True},
    {"variant": "ZeRO-3", "ranks_per_node": 2},
    {"variant": "ZeRO-3, hpZ", "ranks_per_node": 2},
)


def run(
    base: str, variant: str, steps: int, megabits: list[int],
    checkpointing: bool = False, nodes: int = 2, ranks_per_node: int = 1,
) -> list[dict[str, Any]]:  # fmt: skip
    """Rows of one variant, one for each rate.

    Raises:
        SystemExit: if a rank fails, with its words.
    """
    job = json.dumps({
        "variant": variant, "base": base, "steps": steps, "megabits": megabits,
        "checkpointing": checkpointing, "batch": TEXTS, "tokens": TOKENS,
    })  # fmt: skip
    world = nodes * ranks_per_node
    ranks = []
    for rank in range(world):
        environment = {
            **os.environ, "RANK": str(rank), "WORLD_SIZE": str(world),
            "LOCAL_RANK": str(rank % ranks_per_node), "LOCAL_WORLD_SIZE": str(ranks_per_node),
            "MASTER_ADDR": ADDRESSES[0], "MASTER_PORT": "29511", "GLOO_SOCKET_IFNAME": DEVICE,
            "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        command = inside(rank // ranks_per_node, [sys.executable, "-m", "benchmarks.scaling.rank"])
        ranks.append(
            subprocess.Popen(
                [*command, job], env=environment, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
        )  # fmt: skip
    told = [process.communicate() for process in ranks]
    if any(process.returncode for process in ranks):
        raise SystemExit("\n".join(error[-2000:] for _, error in told))
    rows = json.loads(told[0][0].splitlines()[-1])
    facts_of_run = {"variant": variant, "ranks": world, "checkpointing": checkpointing}
    return [{**facts_of_run, **row} for row in rows]


def main() -> None:
    """Measure, write, show."""
    hide_gpus()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--megabits", type=int, nargs="+", default=[200, 1000, UNLIMITED])
    parser.add_argument("--output", type=Path, default=RESULT)
    args = parser.parse_args()
    torch.manual_seed(0)
    config = LlamaConfig(**SHAPE)
    model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    with tempfile.TemporaryDirectory() as base, cabled_nodes():
        model.save_pretrained(base)
        rows = run(base, "alone", args.steps, [UNLIMITED], nodes=1)
        for variant in TIMED:
            new = run(base, variant, args.steps, args.megabits)
            rows += new
            print(variant, *(f"{row['seconds']:.2f} s" for row in new), flush=True)
        sent = [run(base, steps=3, megabits=[UNLIMITED], **one)[0] for one in COUNTED]
    found = {
        **facts(), "base": {**SHAPE, "parameters": model.num_parameters(), "dtype": "bfloat16"},
        "texts": TEXTS, "tokens": TOKENS, "timed": rows, "counted": sent,
    }  # fmt: skip
    args.output.write_text(json.dumps(found, indent=1) + "\n")
    print("\n".join([*timed(found), "", *counted(found), "", *in_words(found)]))


if __name__ == "__main__":
    main()
