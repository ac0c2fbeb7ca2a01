"""`make demo`: tune a tiny Llama in three ways, evaluate, save and merge; under five minutes."""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from adept_llm.adapters import AdeptConfig, inject_adapter, merge_adapter
from adept_llm.base.loading import load_model, load_tokenizer
from adept_llm.cli.columns import print_columns
from adept_llm.cli.main import told
from adept_llm.cli.parsing import check_writable
from adept_llm.data import Encoder, Example, read_instructions
from adept_llm.demo import MODEL
from adept_llm.demo.world import LABELS, examples
from adept_llm.evaluation.answers import AnswerMeasure
from adept_llm.files import write_whole
from adept_llm.packing import make_batcher
from adept_llm.training.arguments import AdeptTrainingArguments
from adept_llm.training.run import Result, run

# (m, r) of at most 100 * d parameters; rates found by `python -m benchmarks.demo_rates`
METHODS = {
    "adept": (AdeptConfig("adept", 20, 39), 0.1, 0.03),
    "prompt_tuning": (AdeptConfig("prompt_tuning", 100), 0.3, 0.0),
    "dept": (AdeptConfig("dept", 60, 19, offset_positions=64), 1.0, 0.03),
}
STEPS = 200
MAX_LENGTH = 64


def main() -> None:
    """Train each method on 2,000 generated rows, test on 400, merge the ADePT model.

    Raises:
        InputError: for a folder that cannot be written.
    """
    parser = argparse.ArgumentParser("python -m adept_llm.demo", description=__doc__)
    parser.add_argument(
        "--output_dir", type=Path, default=Path("runs/demo"), help="default: %(default)s"
    )
    folder = parser.parse_args().output_dir
    check_writable(folder)
    # products this small gain nothing from more threads, which would wait for other work here
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    tokenizer = load_tokenizer(str(MODEL))
    encoder = Encoder(tokenizer, "plain", MAX_LENGTH)
    labels = tuple(f"\n{word}" for word in LABELS.values())
    write_rows(folder)
    # where recipes/demo.yaml looks for it, also where the package was installed
    shutil.copytree(MODEL, folder / "base", dirs_exist_ok=True)
    train, _ = encoder.encode_all(read(folder / "train.jsonl", labels))
    measure = AnswerMeasure.of(encoder, read(folder / "test.jsonl", labels), batch_size=100)
    results: dict[str, Result] = {}
    for name, (config, prompt_rate, offset_rate) in METHODS.items():
        model = inject_adapter(load_model(str(MODEL)), config)
        batcher = make_batcher(model, "shared_prefix", MAX_LENGTH)
        args = arguments(folder / name, prompt_rate, offset_rate)
        print(f"tuning {name} for {STEPS} steps ..", flush=True)
        trainer, results[name] = run(model, args, train, batcher, measure)
        trainer.save_model()
        if name == "adept":
            answers = merged_answers(model, tokenizer, measure.examples, folder / "merged")
            right = [
                answer.strip() == e.target.strip()
                for answer, e in zip(answers, measure.examples, strict=True)
            ]
    print_columns(
        ["method", "before", "after", "trained parameters", "examples/s"],
        [
            [name, f"{r.before['accuracy']:.1%}", f"{r.after['accuracy']:.1%}",
             f"{r.trained_parameters:,}", f"{r.examples_per_second:.0f}"]
            for name, r in results.items()
        ],
    )  # fmt: skip
    print(f"merged into a stock Llama, its greedy answers: {sum(right) / len(right):.1%} right")
    print(f"rows, base, adapters and the merged model: {folder}")


def write_rows(folder: Path) -> None:
    """Generated rows as bare prompts; the answer stands on a line of its own, as in the stories."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", 2000), ("validation", 400), ("test", 400)):
        rows = (
            {"prompt": f"{r['instruction']}\n{r['input']}", "completion": f"\n{r['output']}"}
            for r in examples(0, count, split)
        )
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        write_whole(folder / f"{split}.jsonl", lines.encode())


def read(path: Path, labels: tuple[str, ...]) -> list[Example]:
    """Rows of a file, as any user's."""
    return [replace(row, labels=labels) for row in read_instructions(path)]


def arguments(folder: Path, prompt_rate: float, offset_rate: float) -> AdeptTrainingArguments:
    """A short run on the CPU that keeps no checkpoint."""
    return AdeptTrainingArguments(
        output_dir=str(folder),
        learning_rate=prompt_rate,
        offset_learning_rate=offset_rate,
        max_steps=STEPS,
        save_strategy="no",
        report_to="none",
        logging_steps=STEPS,
        disable_tqdm=True,
        use_cpu=True,
    )


def merged_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    test: Sequence[Example],
    folder: Path,
) -> list[str]:
    """Answers of the merged model, loaded and run by stock transformers alone."""
    model, tokenizer = merge_adapter(model, tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    stock: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    stock_tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    batch = stock_tokenizer([e.input for e in test], return_tensors="pt", padding=True)
    out = stock.generate(**batch, max_new_tokens=3, do_sample=False)
    return stock_tokenizer.batch_decode(
        out[:, batch.input_ids.shape[1] :], skip_special_tokens=True
    )


if __name__ == "__main__":
    sys.exit(told(main))
