r"""A whole small sweep with --concurrent K and without, from the start of its processes to the end.

    python -m benchmarks.concurrent_sweep --model DIR --data_dir SST2 [--counts 1 2 4] \
        >> benchmarks/results/concurrent_sweep.jsonl

Eight rates of ADePT, one seed each; the processor's and the clock's seconds of each sweep, one
after another. Both hold the base's reading, which the runs of a process share, and evaluation,
which they do not. `--packing padded --counts 1` computes the same losses with other roundings: what
its choice differs by is what bf16 leaves open.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.bases import name_of
from benchmarks.facts import facts
from benchmarks.on_cpu import hide_gpus

RATES = [0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5]


def plan_of(args: argparse.Namespace) -> dict[str, Any]:
    """The content of the sweep's file."""
    arguments = {
        "model_name_or_path": args.model, "task": "sst2", "data_dir": args.data_dir,
        "dtype": args.dtype, "quantization": args.quantization, "num_virtual_tokens": 20,
        "bottleneck_size": 39, "max_steps": args.steps, "save_strategy": "no",
        "per_device_train_batch_size": args.batch, "max_train_samples": 2000,
        "max_validation_samples": args.validation, "report_to": "none", "packing": args.packing,
    }  # fmt: skip
    return {"search": {"learning_rate": RATES}, "seeds": [], "arguments": arguments}


def swept(file: Path, folder: Path, concurrent: int) -> dict[str, Any]:
    """Seconds of a sweep, and the losses by which it chose."""
    command = [sys.executable, "-m", "adept_llm.cli.main", "sweep", str(file)]
    command += ["--output_dir", str(folder), "--concurrent", str(concurrent)]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=sys.stderr)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    runs = json.loads((folder / "sweep.json").read_text())["search"]
    return {
        "concurrent": concurrent,
        "processor_seconds": round(sum(after[:2]) - sum(before[:2]), 1),
        "seconds": round(seconds, 1),
        "losses": [run["results"]["after"]["loss"] if run["results"] else None for run in runs],
    }


def main() -> None:
    """Print one JSON object."""
    hide_gpus()
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--quantization", default="none")
    parser.add_argument("--packing", default="shared_prefix")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--validation", type=int, default=100)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "plan.json"
        file.write_text(json.dumps(plan_of(args) | {"output_dir": name}))
        results = [swept(file, Path(name) / str(count), count) for count in args.counts]
    given = {key: value for key, value in vars(args).items() if key not in ("model", "data_dir")}
    print(json.dumps({**facts(), **given, "model": name_of(args.model), "results": results}))


if __name__ == "__main__":
    main()
