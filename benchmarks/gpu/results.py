"""One file of results: each piece is written as soon as it is done, and is not done twice."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adept_llm.errors import InputError
from adept_llm.files import write_whole
from benchmarks.facts import facts
from benchmarks.gpu.pieces import Piece

# of a piece's own guess, before it is taken to hang
PATIENCE = 4
# what all pieces of a file share; their dates and revisions may differ
SHARED = ("shape", "rehearsal", "hardware", "versions")


class ResultFile:
    """Results so far, of one machine, shape and set of versions.

    Raises:
        InputError: for a file of another one.
    """

    def __init__(self, path: Path, shape: str, rehearsal: bool) -> None:
        self.path = path
        self.facts = facts()
        mine = {"shape": shape, "rehearsal": rehearsal, **self.facts}
        self.content: dict[str, Any] = {**{name: mine[name] for name in SHARED}, "pieces": {}}
        if not path.exists():
            return
        found = json.loads(path.read_text("utf-8"))
        for name in SHARED:
            if found[name] != mine[name]:
                raise InputError(
                    f"output: {path} has results of another {name} ({found[name]}, here "
                    f"{mine[name]}); give another file"
                )
        self.content = found

    def missing(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Pieces that have neither a result nor an error."""
        return [piece for piece in pieces if piece.name not in self.content["pieces"]]

    def add(self, piece: Piece, found: dict[str, Any], seconds: float) -> None:
        """Write one piece's result."""
        when = {name: self.facts[name] for name in ("date", "revision")}
        self.content["pieces"][piece.name] = {**when, "seconds": round(seconds, 1), **found}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, (json.dumps(self.content, indent=1) + "\n").encode())


def compute(
    results: ResultFile, pieces: Sequence[Piece], options: Sequence[str], minutes: float | None
) -> list[Piece]:
    """Compute pieces one after another, while there is time for the next one.

    Args:
        results: where they go.
        pieces: those to compute.
        options: of the command, for each piece's own process.
        minutes: at most, from now; None for no end.

    Returns:
        Those that there was no time for.
    """
    end = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
    waiting: list[Piece] = []
    for piece in pieces:
        left = end - time.monotonic()
        if left < 60 * piece.minutes:
            waiting.append(piece)
            continue
        start = time.monotonic()
        found = in_own_process(piece, options, min(left, 60 * PATIENCE * piece.minutes))
        results.add(piece, found, time.monotonic() - start)
        print(f"{piece.name}: {told(found)}", flush=True)
    return waiting


def in_own_process(piece: Piece, options: Sequence[str], seconds: float) -> dict[str, Any]:
    """A piece's result, or its error: a GPU that failed once fails for all that follows."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--one", piece.name, *options]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, env={**os.environ}
        )
    except subprocess.TimeoutExpired:
        return {"error": f"not done in {seconds / 60:.1f} minutes"}
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return {"error": lines[-1] if lines else f"exit code {done.returncode}", "end": lines[-12:]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def told(found: dict[str, Any]) -> str:
    """A result in one line."""
    shown = {
        name: value for name, value in found.items() if name not in ("end", "steps_s", "steps")
    }
    if "steps" in found:
        shown["off"] = [row.get("off", row.get("error")) for row in found["steps"]]
    return ", ".join(f"{name} {value}" for name, value in shown.items())
