"""Keep what sweeps have computed, without weights: a comparison of days goes on on another machine.

    python -m benchmarks.keep_runs --runs runs/compare --output compare.tar.gz
    tar -xzf compare.tar.gz -C runs     # and the same compare.py goes on

A run is finished where its run.json has results; adapters and text logs are left out. The same runs
give the same bytes.
"""

import argparse
import gzip
import io
import json
import tarfile
from pathlib import Path

from adept_llm.record import RECORD_FILE
from adept_llm.sweep.runs import WORDS_FILE
from adept_llm.sweep.sweep import SWEEP_FILE
from adept_llm.training.log_file import LOG_FILE

KEPT = (RECORD_FILE, WORDS_FILE, LOG_FILE, "predictions.jsonl")


def main() -> None:
    """Write the archive, and say what is in it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    found = parser.parse_args()
    runs = sorted(path.parent for path in found.runs.rglob(RECORD_FILE) if finished(path))
    files = [run / name for run in runs for name in KEPT if (run / name).is_file()]
    files += sorted(found.runs.rglob(SWEEP_FILE))
    found.output.parent.mkdir(parents=True, exist_ok=True)
    with (
        found.output.open("wb") as raw,
        gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for path in files:
            entry = tarfile.TarInfo(str(path.relative_to(found.runs.parent)))
            content = path.read_bytes()
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    size = found.output.stat().st_size / 1e6
    print(f"{found.output}: {len(runs)} runs, {len(files)} files, {size:.2f} MB")


def finished(path: Path) -> bool:
    """Whether a record has results, and is no checkpoint's."""
    inside = path.parent.name.startswith("checkpoint-")
    return not inside and bool(json.loads(path.read_bytes()).get("results"))


if __name__ == "__main__":
    main()
