"""One run in every form it can take: its losses, and the bytes of frozen weights on each rank.

One process; 2 ranks with DDP, ZeRO-2, ZeRO-3, offload; accumulation; padded; packed; in pieces;
4 bits. The examples do not divide by the global batch, so that the short last step of an epoch is
met too.
"""

import gc
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from adept_llm.adapters import AdeptConfig, get_adapter, inject_adapter
from adept_llm.base.loading import load_model, load_tokenizer
from adept_llm.compat.deepspeed import bytes_held, gathered
from adept_llm.data import Encoder, Example
from adept_llm.demo import MODEL
from adept_llm.demo.world import examples
from adept_llm.evaluation.answers import AnswerMeasure
from adept_llm.evaluation.ranks import from_all_ranks
from adept_llm.packing import make_batcher
from adept_llm.training.arguments import AdeptTrainingArguments
from adept_llm.training.launch import join_ranks, leave_together
from adept_llm.training.log_file import read_losses
from adept_llm.training.run import run

CONFIGS = Path(__file__).parents[2] / "ds_configs"
GLOBAL_BATCH, MAX_LENGTH, AT_ONCE = 16, 64, 80
LABELS = ("\nYes", "\nNo")
Variant = dict[str, Any]

# each is compared with the first of its kind: '4 bits' with '4 bits', the others with '1 process'
ALONE: dict[str, Variant] = {
    "1 process": {},
    "1 process, accumulation 4": {"gradient_accumulation_steps": 4},
    "1 process, padded": {"packing": "padded"},
    "4 bits, 1 process": {"quantization": "nf4"},
}
TWO_RANKS: dict[str, Variant] = {
    "2 ranks, DDP": {},
    "2 ranks, ZeRO-2": {"deepspeed": "zero2"},
    "2 ranks, ZeRO-3": {"deepspeed": "zero3"},
    "2 ranks, ZeRO-3, accumulation 4": {"deepspeed": "zero3", "gradient_accumulation_steps": 4},
    "2 ranks, ZeRO-3, padded": {"deepspeed": "zero3", "packing": "padded"},
    "2 ranks, DDP, pieces": {"tokens_per_batch": AT_ONCE},
    "2 ranks, ZeRO-2, accumulation 2, pieces": {
        "deepspeed": "zero2", "gradient_accumulation_steps": 2, "tokens_per_batch": AT_ONCE,
    },
    "2 ranks, ZeRO-3, padded, pieces": {
        "deepspeed": "zero3", "packing": "padded", "tokens_per_batch": AT_ONCE,
    },
    "2 ranks, ZeRO-3, offload to CPU": {"deepspeed": "zero3_offload_cpu"},
    "4 bits, 2 ranks, ZeRO-2": {"deepspeed": "zero2", "quantization": "nf4"},
    "4 bits, 2 ranks, ZeRO-3": {"deepspeed": "zero3", "quantization": "nf4"},
    # last: DeepSpeed keeps the groups of its secondary shards for the life of the process
    "2 ranks, ZeRO-3, several nodes": {"deepspeed": "zero3_multinode"},
}  # fmt: skip


def cpu_config(name: str) -> dict[str, Any]:
    """A shipped configuration as two ranks on one CPU can start it."""
    config = json.loads((CONFIGS / f"{name}.json").read_text())
    zero = config["zero_optimization"]
    # small weights are otherwise kept whole for speed, and all weights here are small
    if zero["stage"] == 3:
        zero["stage3_param_persistence_threshold"] = 0
    if "zero_hpz_partition_size" in zero:
        zero["zero_hpz_partition_size"] = 2
    zero.get("offload_param", {}).pop("pin_memory", None)
    return config


def frozen_bytes(model: Any) -> int:
    """Bytes of frozen weights that this rank holds between steps."""
    return sum(bytes_held(p) for p in model.parameters() if not p.requires_grad)


def demo_examples() -> tuple[Encoder, list[Example]]:
    """70 examples of the demo's task."""
    encoder = Encoder(load_tokenizer(str(MODEL)), "plain", MAX_LENGTH)
    rows = [
        Example("", f"{r['instruction']}\n{r['input']}", f"\n{r['output']}", id=str(i),
                labels=LABELS)
        for i, r in enumerate(examples(0, 70, "train"))
    ]  # fmt: skip
    return encoder, rows


def train(variant: Variant, steps: int, folder: str) -> dict[str, Any]:
    """Of one variant, by rank: frozen bytes, accuracy, pieces of each micro-batch."""
    changes = dict(variant)
    quantization = changes.pop("quantization", "none")
    if "deepspeed" in changes:
        changes["deepspeed"] = cpu_config(changes["deepspeed"])
    accumulation = changes.setdefault("gradient_accumulation_steps", 1)
    hands = accumulation * int(os.environ.get("WORLD_SIZE", "1"))
    args = AdeptTrainingArguments(
        output_dir=folder, max_steps=steps, warmup_steps=2, report_to="none", disable_tqdm=True,
        use_cpu=join_ranks(changes.get("deepspeed"), True), save_strategy="no",
        per_device_train_batch_size=GLOBAL_BATCH // hands, **changes,
    )  # fmt: skip
    encoder, rows = demo_examples()
    model = load_model(str(MODEL), None, "float32", quantization)
    model = inject_adapter(model, AdeptConfig("adept", 5, 8), gather=gathered)
    batcher = make_batcher(model, args.packing, MAX_LENGTH)
    measure = AnswerMeasure.of(encoder, rows[:15], batch_size=4)
    trainer, result = run(model, args, encoder.encode_all(rows)[0], batcher, measure)
    assert all(p.dtype == torch.float32 for p in get_adapter(model).trained_parameters().values())
    pieces = [len(share["pieces"]) for share in trainer.get_train_dataloader()]
    held = from_all_ranks((frozen_bytes(model), result.after["accuracy"], pieces))
    return {
        "bytes": [b for b, _, _ in held],
        "accuracy": [a for _, a, _ in held],
        "pieces": [p for _, _, p in held],
    }


def work(names: list[str], steps: int, folder: Path) -> None:
    """Train variants one after another in the present ranks."""
    found = {}
    for name in names:
        out = folder / name
        found[name] = train({**ALONE, **TWO_RANKS}[name], steps, str(out))
        gc.collect()
        if os.environ.get("RANK", "0") == "0":
            losses = read_losses(out)
            found[name]["losses"] = [losses[step] for step in sorted(losses)]
            (folder / f"{name}.json").write_text(json.dumps(found[name]))
    leave_together()


def measure_all(steps: int, names: list[str] | None = None) -> dict[str, dict[str, Any]]:
    """Results by variant.

    Args:
        steps: optimizer steps of each.
        names: which variants; all by default.
    """
    wanted = names or [*ALONE, *TWO_RANKS]
    deepspeed = [str(Path(sys.executable).with_name("deepspeed")), "--num_gpus", "2"]
    deepspeed += ["--master_port", str(20_000 + os.getpid() % 20_000)]
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for launcher, group in (([sys.executable], ALONE), (deepspeed, TWO_RANKS)):
            chosen = [name for name in wanted if name in group]
            if chosen:
                job = json.dumps([chosen, steps, folder])
                done = subprocess.run(
                    [*launcher, __file__, job], env=environment, text=True, capture_output=True
                )
                if done.returncode:
                    raise RuntimeError(done.stdout[-3000:] + done.stderr[-3000:])
        return {n: json.loads((Path(folder) / f"{n}.json").read_text()) for n in wanted}


def difference(found: dict[str, Any], reference: dict[str, Any]) -> float:
    """Largest relative difference of the losses."""
    pairs = zip(found["losses"], reference["losses"], strict=True)
    return max(abs(a - b) / b for a, b in pairs)


def reference_of(name: str) -> str:
    """The variant to compare with."""
    return "4 bits, 1 process" if name.startswith("4 bits") else "1 process"


if __name__ == "__main__":
    # as a rank; the launcher puts --local_rank before the job
    names, steps, folder = json.loads(sys.argv[-1])
    work(names, steps, Path(folder))
