"""All that needs a GPU, in less than half an hour, resumable in pieces; one file of results.

    python -m benchmarks.gpu [--shape meta-llama/Llama-2-7b-hf] [--minutes 8] [--output FILE]
    python -m benchmarks.gpu --rehearse [--output FILE]

Kernels against float64, training of a base of random weights in bf16 and NF4 (tokens/s,
utilisation, peaks of memory against `adept-llm estimate`), and PEFT's PromptTuning and LoRA on the
same base. Each piece is a process of its own and is written as soon as it is done; a second start
goes on with what is missing, `--only` computes pieces again. Without a GPU it says what it would
do; `--rehearse` takes the same way on the CPU with a tiny Llama.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch

from adept_llm.base.shapes import SHAPES
from adept_llm.cli.columns import print_columns
from adept_llm.errors import InputError
from benchmarks.gpu.pieces import PIECES, Piece
from benchmarks.gpu.results import ResultFile, compute
from benchmarks.gpu.setting import Setting, Skipped

OUTPUT = Path("benchmarks/results/gpu.json")
SEVEN = "meta-llama/Llama-2-7b-hf"


def main() -> None:
    """Compute what is missing, or say what would be computed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--shape", choices=("tiny", *SHAPES), help=f"default {SEVEN}")
    parser.add_argument("--minutes", type=float, help="start nothing that would not end by then")
    parser.add_argument("--output", type=Path, help=f"default {OUTPUT}; a rehearsal's: none")
    parser.add_argument("--only", nargs="+", choices=[piece.name for piece in PIECES])
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, tiny")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    shape = given.shape or ("tiny" if given.rehearse else SEVEN)
    if given.one:
        print(json.dumps(one(given.one, Setting.of(shape, given.rehearse))))
        return
    if not given.rehearse and not torch.cuda.is_available():
        plan()
        return
    options = ["--shape", shape, *(["--rehearse"] if given.rehearse else [])]
    with tempfile.TemporaryDirectory() as scratch:
        nowhere = Path(scratch) / "gpu.json"
        path = given.output or (nowhere if given.rehearse else OUTPUT)
        try:
            results = ResultFile(path, shape, given.rehearse)
        except InputError as error:
            sys.exit(str(error))
        chosen = [piece for piece in PIECES if piece.name in (given.only or ())]
        waiting = compute(results, chosen or results.missing(PIECES), options, given.minutes)
    if waiting:
        names = " ".join(piece.name for piece in waiting)
        print(f"no time for: {names}; the same command goes on with them")


def one(name: str, setting: Setting) -> dict[str, object]:
    """A piece's result, or why it is left out."""
    piece = next(piece for piece in PIECES if piece.name == name)
    try:
        return piece.run(setting)
    except Skipped as reason:
        return {"skipped": str(reason)}


def plan() -> None:
    """What a machine with a GPU would compute."""
    rows = [[piece.name, f"{piece.minutes:g}", piece.says] for piece in PIECES]
    print_columns(["piece", "minutes", "what"], rows)
    print(
        f"no GPU is here, and nothing was computed; on one about {total(PIECES):g} minutes. "
        "--rehearse takes the same way on the CPU with a tiny Llama"
    )


def total(pieces: tuple[Piece, ...]) -> float:
    """Minutes."""
    return sum(piece.minutes for piece in pieces)


if __name__ == "__main__":
    main()
