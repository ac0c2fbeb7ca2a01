"""Seconds and memory before the first step: imports, --help, a tiny run, and many short rows.

    python -m benchmarks.startup [--rows 1000000] [--tokenizer DIR]

Rows are like SST-2's: words drawn by a seed from this project's pages, 2 to 42 of them. They are
read, tokenised and stored as `adept-llm train --task sst2` does it, each time in a process of its
own: by one process and by all cores without a cache, and from the cache. Memory is the kernel's
highest count of resident pages, of the process itself and of the largest that it started, and what
of it is no page of a file in the end; beside it stands the same process without rows. `load` is how
many processes wanted the cores: above their number, only the processor's seconds say much.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.facts import facts
from benchmarks.on_cpu import hide_gpus

ROOT = Path(__file__).parents[1]
OUTPUT = Path(__file__).parent / "results" / "startup.json"
LLAMA = ROOT.parent / "shared/models/llama2-tokenizer"
HELD_OUT = 1000  # of SST-2's train split
BATCH, BATCHES = 32, 200
POLL = 0.05


def main() -> None:
    """Measure all, each in a process of its own."""
    hide_gpus()
    from adept_llm.demo import MODEL

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--tokenizer", type=Path, default=LLAMA if LLAMA.is_dir() else MODEL)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(encoded(given.measure, given.tokenizer)))
        return
    found: dict[str, Any] = {
        **facts(),
        "import_seconds": seconds("-c", "import adept_llm"),
        "help_seconds": seconds("-m", "adept_llm.cli.main", "train", "--help"),
        "first_step_seconds": first_step(str(MODEL)),
        "tokenizer": given.tokenizer.name,
    }
    for rows in sorted({0, 100_000, given.rows}):
        with tempfile.TemporaryDirectory() as scratch:
            found[f"rows_{rows}"] = of_rows(Path(scratch), rows, given.tokenizer)
        print(json.dumps(found[f"rows_{rows}"]), flush=True)
    given.output.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))


def seconds(*arguments: str) -> float:
    """The middle one of three runs of Python."""
    return sorted(timed(lambda: run(*arguments)) for _ in range(3))[1]


def first_step(model: str) -> float:
    """From the start of `adept-llm train` on the demo's tiny Llama to its first loss."""
    from adept_llm.demo.world import examples
    from adept_llm.training.log_file import LOG_FILE

    with tempfile.TemporaryDirectory() as scratch:
        rows, folder = Path(scratch, "train.jsonl"), Path(scratch, "run")
        rows.write_text("".join(json.dumps(row) + "\n" for row in examples(0, 64, "train")))
        options = {
            "model_name_or_path": model, "train_file": rows, "output_dir": folder, "max_steps": 1,
            "report_to": "none", "use_cpu": "true", "save_strategy": "no",
        }  # fmt: skip
        command = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "adept_llm.cli.main", "train", *command],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while not ((folder / LOG_FILE).exists() and (folder / LOG_FILE).stat().st_size):
            if process.poll() is not None:
                raise RuntimeError(f"the run ended with code {process.returncode}")
            time.sleep(POLL)
        found = time.perf_counter() - start
        process.wait()
        return round(found, 2)


def of_rows(folder: Path, rows: int, tokenizer: Path) -> dict[str, Any]:
    """So many rows without a cache by one process and by all cores, and from the cache."""
    if rows:
        write_rows(folder / "train.jsonl", rows + HELD_OUT)

    def measured(cache: str, cores: set[int]) -> dict[str, Any]:
        own = ["-m", "benchmarks.startup", "--measure", str(folder), "--tokenizer", str(tokenizer)]
        environment = {"HF_DATASETS_CACHE": str(folder / cache), "HF_HUB_OFFLINE": "1"}
        return dict(json.loads(run(*own, environment=environment, cores=cores).splitlines()[-1]))

    every = os.sched_getaffinity(0)
    if not rows:
        return measured("none", every)
    return {
        "megabytes": round((folder / "train.jsonl").stat().st_size / 1e6, 1),
        "1 process": measured("one", {min(every)}),
        f"{len(every)} processes": measured("all", every),
        "from the cache": measured("all", every),
    }


def write_rows(path: Path, rows: int) -> None:
    """Rows with SST-2's columns."""
    pages = sorted((ROOT / "docs").glob("*.md"))
    words = " ".join(page.read_text() for page in pages).replace("|", " ").split()
    draw = random.Random(0)
    with path.open("w") as file:
        for index in range(rows):
            text = " ".join(draw.choices(words, k=2 + min(40, int(draw.expovariate(1 / 8)))))
            row = {"sentence": text + " ", "label": draw.randrange(2), "idx": index}
            file.write(json.dumps(row) + "\n")


def encoded(folder: Path, tokenizer: Path) -> dict[str, Any]:
    """In this process: seconds until the rows can be trained on, and the highest memory."""
    import datasets  # noqa: F401  # Trainer imports it anyway
    import torch  # noqa: F401
    from transformers import Trainer  # noqa: F401

    from adept_llm.base.loading import load_tokenizer
    from adept_llm.data import Encoder
    from adept_llm.data.cached import encode_source
    from adept_llm.tasks import get_task
    from adept_llm.tasks.loading import TaskRows

    encoder = Encoder(load_tokenizer(str(tokenizer), None), "plain", 256)
    if not any(folder.glob("train.*")):
        return {"peak_mib": resident("self", "VmHWM"), "own_mib": resident("self", "RssAnon")}
    watch = Watch()
    start, before = time.perf_counter(), sum(os.times()[:4])
    rows = encode_source(encoder, TaskRows(get_task("sst2"), "train", folder))
    lengths = rows.lengths
    found, used = time.perf_counter() - start, sum(os.times()[:4]) - before
    drawn = random.Random(0).choices(range(len(rows)), k=BATCH * BATCHES)
    batches = timed(lambda: [rows.take(drawn[n::BATCHES]) for n in range(BATCHES)])
    return {
        "seconds": round(found, 2),
        "load": round(os.getloadavg()[0], 1),
        "processor_seconds": round(used, 2),
        "rows": len(rows),
        "tokens": sum(lengths),
        "fingerprint": rows.about.ids,
        "peak_mib": resident("self", "VmHWM"),
        "own_mib": resident("self", "RssAnon"),
        "largest_worker_mib": watch.end(),
        f"ms_to_read_{BATCH}_rows": round(1000 * batches / BATCHES, 2),
    }


class Watch(threading.Thread):
    """Looks at the memory of the processes that this one starts.

    The kernel's count for children that have ended begins with that of the process they came from.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._highest, self._over = 0, threading.Event()
        self.start()

    def run(self) -> None:
        """Look until the end."""
        while not self._over.wait(POLL):
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            self._highest = max([self._highest, *(resident(n, "VmHWM") for n in children)])

    def end(self) -> int:
        """The highest count of any of them, in MiB; 0 where there was none."""
        self._over.set()
        self.join()
        return self._highest


def resident(process: str, count: str) -> int:
    """One of the kernel's counts of a process's memory, in MiB; 0 if it is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith(count)), 0)


def timed(act: Callable[[], Any]) -> float:
    """Seconds that it takes."""
    start = time.perf_counter()
    act()
    return round(time.perf_counter() - start, 3)


def run(
    *arguments: str, environment: dict[str, str] | None = None, cores: set[int] | None = None
) -> str:
    """What Python prints, on some of the cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores or before)
    try:
        return subprocess.run(
            [sys.executable, *arguments], check=True, text=True, stdout=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
        ).stdout  # fmt: skip
    finally:
        os.sched_setaffinity(0, before)


if __name__ == "__main__":
    main()
