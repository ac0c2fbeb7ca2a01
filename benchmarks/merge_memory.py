"""Memory and time of merging a model of 2 GB: random weights, made here, in shards of half a GB.

    python -m benchmarks.merge_memory --output benchmarks/results/merge_memory.json

Making it and merging it are processes of their own; peaks are the kernel's count of resident
memory, in which the file's pages that are mapped are counted too.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOOL = [sys.executable, "-m", "adept_llm.cli.main"]


def main() -> None:
    """Make, merge, measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--layers", type=int, default=18, help="18 are 2 GB")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.make:
        make(given.make, given.layers)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        own = [sys.executable, "-m", "benchmarks.merge_memory", "--output", "-"]
        subprocess.run([*own, "--layers", str(given.layers), "--make", scratch], check=True)
        idle = peak([sys.executable, "-c", "import adept_llm.cli.merge"])[0]
        options = ["--adapter", str(folder / "adapter"), "--output_dir", str(folder / "merged")]
        used, seconds = peak([*TOOL, "merge", *options])
        sizes = {
            name: sum(p.stat().st_size for p in (folder / name).glob("*.safetensors"))
            for name in ("base", "merged")
        }
        shards = {name: len(list((folder / name).glob("*.safetensors"))) for name in sizes}
    found = {
        "weights_gb": {name: round(size / 1e9, 3) for name, size in sizes.items()},
        "shards": shards, "peak_gb": round(used / 1e9, 3), "imports_alone_gb": round(idle / 1e9, 3),
        "seconds": round(seconds, 1),
    }  # fmt: skip
    given.output.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))


def peak(command: list[str]) -> tuple[int, float]:
    """Peak resident bytes of a process, and its seconds."""
    watch = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", watch, *command], check=True, capture_output=True, text=True
    )
    return int(done.stdout.split()[-1]) * 1024, time.perf_counter() - start


def make(folder: Path, layers: int) -> None:
    """A Llama of random weights in bf16, with the demo's tokenizer, and an adapter of it."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from adept_llm import AdeptConfig, inject_adapter, save_adapter
    from adept_llm.demo import MODEL

    config = LlamaConfig(
        vocab_size=32000, hidden_size=2048, intermediate_size=5632, num_hidden_layers=layers,
        num_attention_heads=32, num_key_value_heads=32, max_position_embeddings=2048,
        tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    LlamaForCausalLM(config).save_pretrained(folder / "base", max_shard_size="500MB")
    AutoTokenizer.from_pretrained(MODEL).save_pretrained(folder / "base")
    model = LlamaForCausalLM.from_pretrained(folder / "base", dtype=torch.bfloat16)
    save_adapter(inject_adapter(model, AdeptConfig("adept", 20, 39)), folder / "adapter")
    print(f"made: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB", flush=True)


if __name__ == "__main__":
    main()
