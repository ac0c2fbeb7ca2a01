"""Examples per second of training: shared-prefix packing against three peers, in one process.

    python -m benchmarks.packing_speed [--model DIR] [--data_dir DIR] [--steps 12]

Peers: (a) dynamic padding with the same adapter, (b) PEFT's PromptTuning under Trainer with dynamic
padding, (c) padding to 256 as the reference code does. Lengths are SST-2's where its rows are
given, else drawn like them. Rounds are interleaved, the median counts.
"""

import argparse
import json
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
import transformers

from adept_llm.adapters import AdeptConfig, inject_adapter
from adept_llm.data import Encoded, Encoder
from adept_llm.packing import Batch, Batcher, make_batcher
from adept_llm.packing.collator import left_pad
from adept_llm.tasks import get_task, load_split
from adept_llm.training.arguments import AdeptTrainingArguments
from adept_llm.training.trainer import AdeptTrainer

BATCH = 32


def base_model(folder: str | None) -> Any:
    """The given model, or a random Llama of plainwords-7m's shape."""
    torch.manual_seed(0)
    if folder:
        return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=8192, hidden_size=256, intermediate_size=688, num_hidden_layers=6,
            num_attention_heads=4, max_position_embeddings=1024, tie_word_embeddings=True,
        )
    )  # fmt: skip


def load_examples(model: str | None, data_dir: str | None, count: int) -> list[Encoded]:
    """SST-2's rows, or random ids with lengths like theirs."""
    if model and data_dir:
        tokenizer = transformers.AutoTokenizer.from_pretrained(model)
        rows = load_split(get_task("sst2"), "train", data_dir, limit=count)
        return Encoder(tokenizer, "plain", 256).encode_all(rows)[0]
    rng = random.Random(0)
    lengths = [18 + min(60, int(rng.expovariate(1 / 16))) for _ in range(count)]
    return [
        Encoded([rng.randrange(3, 8000) for _ in range(n)], [5, 2], str(i), -1, 0)
        for i, n in enumerate(lengths)
    ]


class PaddedTo:
    """A batcher that pads to rows of one fixed length."""

    def __init__(self, batcher: Batcher, length: int) -> None:
        self.batcher, self.length = batcher, length

    def __call__(self, examples: list[Encoded]) -> Batch:
        """Pad further on the left."""
        batch = self.batcher(examples)
        inputs = batch["inputs"]
        extra = self.length - inputs["input_ids"].shape[1]
        for name in ("input_ids", "attention_mask", "position_ids"):
            inputs[name] = torch.nn.functional.pad(inputs[name], (extra, 0))
        return batch


def peft_batch(examples: list[Encoded]) -> dict[str, Any]:
    """What a stock causal-LM collator gives: labels of the input's shape, dynamic padding."""
    rows = [e.prompt_ids + e.target_ids for e in examples]
    return {
        "input_ids": left_pad(rows, 0),
        "attention_mask": left_pad([[1] * len(r) for r in rows], 0),
        "labels": left_pad([[-100] * len(e.prompt_ids) + e.target_ids for e in examples], -100),
    }


def trainer_for(
    kind: str, m: int, model: str | None, data: list[Encoded], steps: int, folder: str
) -> Callable[[], float]:
    """A function that trains some steps and returns their examples per second."""
    args = AdeptTrainingArguments(
        output_dir=folder, max_steps=steps, save_strategy="no", report_to="none",
        disable_tqdm=True, use_cpu=True, logging_steps=10**6, per_device_train_batch_size=BATCH,
    )  # fmt: skip
    base = base_model(model)

    def make() -> Any:
        if kind == "peft":
            return transformers.Trainer(
                model=peft_model, args=args, train_dataset=data, data_collator=peft_batch
            )
        return AdeptTrainer(base, args, data, batcher)

    if kind == "peft":
        import peft

        peft_model = peft.get_peft_model(
            base, peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=m)
        )
    else:
        inject_adapter(base, AdeptConfig("adept", m, 19))
        batcher: Any = make_batcher(base, "shared_prefix" if kind == "packed" else "padded")
        if kind == "padded_256":
            batcher = PaddedTo(batcher, m + 256)

    def measure() -> float:
        trainer = make()
        trainer.remove_callback(transformers.PrinterCallback)
        start = time.perf_counter()
        trainer.train()
        return steps * BATCH / (time.perf_counter() - start)

    return measure


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    parser.add_argument("--data_dir")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    data = load_examples(args.model, args.data_dir, 2000)
    results = []
    for m in (20, 100):
        with tempfile.TemporaryDirectory() as folder:
            kinds = ("packed", "padded", "peft", "padded_256")
            runs = {k: trainer_for(k, m, args.model, data, args.steps, folder) for k in kinds}
            speeds: dict[str, list[float]] = {k: [] for k in kinds}
            for _ in range(args.rounds):
                for kind, measure in runs.items():
                    speeds[kind].append(measure())
        median = {k: statistics.median(v) for k, v in speeds.items()}
        ratios = {k: median["packed"] / median[k] for k in kinds[1:]}
        results.append({"m": m, "examples_per_second": median, "packed_is_faster_by": ratios})
    tokens = sum(len(e.prompt_ids) + len(e.target_ids) for e in data) / len(data)
    where = {"cpu": platform.processor() or platform.machine(), "threads": torch.get_num_threads()}
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    print(
        json.dumps(
            {"batch": BATCH, "mean_tokens": tokens, **where, **versions, "results": results},
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
