"""Kill -9 a rank at random moments of a run, resume each time, and compare with a quiet run.

    python -m benchmarks.kill_and_resume [kills] [ranks] [ds_configs/NAME.json]

The moments lie up to 0.7 s behind the first step of a start; every other step is saved, so many of
them hit a save. Prints where each start began and what it skipped, the largest difference of the
losses, and the sizes of all checkpoint files: of this run, and of Llama-2 7B and 13B by their real
shapes.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import torch
from safetensors.torch import save as to_safetensors

from adept_llm.adapters import AdeptConfig
from adept_llm.adapters.config import BaseTable
from adept_llm.adapters.layer import AdeptEmbedding
from adept_llm.adapters.saved import adapter_files
from adept_llm.cli.columns import print_columns
from adept_llm.demo import MODEL
from adept_llm.demo.world import examples
from adept_llm.training.log_file import LOG_FILE, read_losses

ROOT = Path(__file__).parents[1]
STEPS, GLOBAL_BATCH = 400, 16


def command(folder: Path, out: Path, ranks: int, deepspeed: str | None) -> list[str]:
    """A run of some seconds that saves every other step."""
    python = [sys.executable]
    if ranks > 1:
        python = [str(Path(sys.executable).with_name("torchrun")), "--standalone"]
        python.append(f"--nproc-per-node={ranks}")
    return [
        *python, str(ROOT / "recipes/llama2_adept.py"), "--model_name_or_path", str(MODEL),
        "--train_file", str(folder / "train.jsonl"), "--output_dir", str(out), "--max_steps",
        str(STEPS), "--per_device_train_batch_size", str(GLOBAL_BATCH // ranks), "--use_cpu",
        "true", "--report_to", "none", "--disable_tqdm", "true", "--num_virtual_tokens", "5",
        "--bottleneck_size", "8", "--bottleneck_dropout", "0.1", "--max_length", "64",
        "--learning_rate", "0.01", "--save_strategy", "steps", "--save_steps", "2",
        "--save_total_limit", "3", "--resume_from_checkpoint", "auto",
        *(["--deepspeed", deepspeed] if deepspeed else []),
    ]  # fmt: skip


def run(words: list[str], log: Path, kill_after: float | None, out: Path) -> int:
    """Exit code; one rank is killed so many seconds behind the first step that is logged."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    lines = count_lines(out)
    with log.open("a") as file:
        process = subprocess.Popen(words, env=environment, stdout=file, stderr=subprocess.STDOUT)
        if kill_after is not None:
            while process.poll() is None and count_lines(out) == lines:
                time.sleep(0.005)
            time.sleep(kill_after)
            victims = ranks_of(process)
            if victims and process.poll() is None:
                random.choice(victims).send_signal(signal.SIGKILL)
        return process.wait()


def count_lines(out: Path) -> int:
    """Lines of a run's log."""
    path = out / LOG_FILE
    return path.read_bytes().count(b"\n") if path.exists() else 0


def ranks_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The processes that train: the workers of a launcher, or the process itself."""
    try:
        parent = psutil.Process(process.pid)
        return parent.children() or [parent]
    except psutil.NoSuchProcess:
        return []


def sizes_of(width: int) -> int:
    """Bytes of adapter and moments of a checkpoint, 60 virtual tokens and bottleneck 19."""
    table = BaseTable(32_000, width, 1.0)
    adapter = AdeptEmbedding(torch.nn.Embedding(1, width), AdeptConfig("adept", 60, 19), table)
    values = adapter.trained_parameters()
    moments = {
        f"{name}.{key}": torch.zeros(value.shape)
        for name, value in values.items()
        for key in ("exp_avg", "exp_avg_sq")
    }
    files = [*adapter_files(adapter, values).values(), to_safetensors(moments)]
    return sum(map(len, files))


def main() -> None:
    """Kill, resume, compare, print."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    ranks = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    deepspeed = sys.argv[3] if len(sys.argv) > 3 else None
    random.seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = "".join(json.dumps(row) + "\n" for row in examples(0, 500, "train"))
        (folder / "train.jsonl").write_text(rows)
        quiet, killed, log = folder / "quiet", folder / "killed", folder / "log.txt"
        start = time.monotonic()
        code = run(command(folder, quiet, ranks, deepspeed), log, None, quiet)
        assert code == 0, log.read_text()[-3000:]
        print(f"quiet run: {STEPS} steps in {time.monotonic() - start:.1f} s")
        for kill in range(kills):
            run(command(folder, killed, ranks, deepspeed), log, random.uniform(0, 0.7), killed)
            step = max(read_losses(killed))
            left = sorted(p.name for p in killed.iterdir() if p.name.startswith("."))
            print(f"kill {kill + 1}: reached step {step}; left behind: {left or 'nothing'}")
        code = run(command(folder, killed, ranks, deepspeed), log, None, killed)
        assert code == 0, log.read_text()[-3000:]
        for line in log.read_text().splitlines():
            if line.startswith("resume:"):
                print(line.replace(name, ""))
        a, b = read_losses(quiet), read_losses(killed)
        worst = max(abs(a[step] - b[step]) / a[step] for step in a)
        print(f"largest relative difference of {len(a)} losses: {worst}")
        newest = max(killed.glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
        table = [[p.name, f"{p.stat().st_size:,}"] for p in sorted(newest.iterdir())]
        print_columns([newest.name, "bytes"], table)
    for base, width in (("Llama-2 7B", 4096), ("Llama-2 13B", 5120)):
        print(f"{base}: adapter and moments of a checkpoint {sizes_of(width):,} bytes")


if __name__ == "__main__":
    main()
