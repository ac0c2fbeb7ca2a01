r"""A whole run of a label task, from the start of the process to the metric, beside PEFT's.

    python -m benchmarks.whole_run --model DIR --data_dir SST2 [--steps 400] \
        > benchmarks/results/whole_run.json

Prompt tuning with 100 virtual tokens, batches of 16, 872 rows to evaluate. `ours` is `adept-llm
train`, which evaluates before and after training. `stock` is PEFT's PromptTuning under Trainer with
dynamic padding, then each label of each row as a sequence of its own, as evaluation harnesses have
it, before and after as well. Each is a process of its own, one after another.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import transformers

from adept_llm.data import Encoder
from adept_llm.tasks import get_task, load_split
from benchmarks.bases import name_of, stock_batch
from benchmarks.evaluation import stock_scores
from benchmarks.facts import facts
from benchmarks.on_cpu import hide_gpus

M, BATCH, LENGTH, RATE = 100, 16, 128, 0.1


def stock_run(model: str, data_dir: str, steps: int, folder: str) -> float:
    """PEFT, Trainer and padded label scoring; returns the accuracy."""
    import peft

    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    encoder = Encoder(tokenizer, "plain", LENGTH)
    task = get_task("sst2")
    train, test = (
        encoder.encode_all(load_split(task, split, data_dir, limit=limit))[0]
        for split, limit in (("train", steps * BATCH), ("validation", None))
    )
    base = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=M)
    tuned = peft.get_peft_model(base, config)
    arguments = transformers.TrainingArguments(
        folder, max_steps=steps, per_device_train_batch_size=BATCH, learning_rate=RATE,
        save_strategy="no", report_to="none", disable_tqdm=True, use_cpu=True,
        remove_unused_columns=False,
    )  # fmt: skip
    labels = encoder.label_ids(list(load_split(task, "validation", data_dir, limit=1)[0].labels))
    rows = sorted(test, key=lambda e: len(e.prompt_ids))
    stock_scores(tuned.eval(), rows, labels)
    transformers.Trainer(
        model=tuned, args=arguments, train_dataset=train, data_collator=stock_batch
    ).train()
    scores = torch.stack(stock_scores(tuned.eval(), rows, labels))
    right = scores.argmax(-1) == torch.tensor([e.label for e in rows])
    return float(right.float().mean())


def our_run(model: str, data_dir: str, steps: int, folder: str) -> float:
    """The command line; returns the accuracy."""
    command = (
        "train --method prompt_tuning --bottleneck_size 0 --task sst2 --dtype bfloat16 "
        "--save_strategy no --report_to none --disable_tqdm true"
    )
    values = {
        "model_name_or_path": model, "data_dir": data_dir, "max_steps": steps,
        "num_virtual_tokens": M, "max_length": LENGTH, "learning_rate": RATE,
        "per_device_train_batch_size": BATCH, "output_dir": folder,
    }  # fmt: skip
    given = [str(word) for name, value in values.items() for word in (f"--{name}", value)]
    subprocess.run(
        [sys.executable, "-m", "adept_llm.cli.main", *command.split(), *given],
        check=True, stdout=sys.stderr,
    )  # fmt: skip
    return float(
        json.loads((Path(folder) / "run.json").read_text())["results"]["after"]["accuracy"]
    )


def main() -> None:
    """Print one JSON object."""
    hide_gpus()
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--one", choices=("ours", "stock"), help="in this process: prints accuracy")
    args = parser.parse_args()
    if args.one:
        run = our_run if args.one == "ours" else stock_run
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(run(args.model, args.data_dir, args.steps, folder)))
        return
    found: dict[str, Any] = {}
    for name in ("ours", "stock"):
        start = time.perf_counter()
        command = [sys.executable, "-m", "benchmarks.whole_run", "--one", name, *sys.argv[1:]]
        output = subprocess.check_output(command, text=True)
        seconds = round(time.perf_counter() - start, 1)
        found[name] = {"seconds": seconds, "accuracy": float(output.splitlines()[-1])}
    ratio = found["stock"]["seconds"] / found["ours"]["seconds"]
    print(
        json.dumps(
            {
                **facts(),
                "model": name_of(args.model),
                "steps": args.steps,
                "m": M,
                "batch": BATCH,
                **found,
                "faster": round(ratio, 2),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
