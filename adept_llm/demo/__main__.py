"""`make demo`: tune a tiny Llama in three ways, evaluate, save and merge; under five minutes."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from adept_llm.adapters import AdeptConfig, inject_adapter, merge_adapter
from adept_llm.backbone import load_model, load_tokenizer
from adept_llm.demo import MODEL
from adept_llm.demo.world import LABELS, examples
from adept_llm.evaluation.measure import Measure
from adept_llm.table import print_table
from adept_llm.tasks import Encoder, Example
from adept_llm.training.arguments import AdeptTrainingArguments
from adept_llm.training.run import Result, make_collator, run

# (m, r) of 100 * d parameters, the rates and steps of each method, found on the validation split
METHODS = {
    "adept": (AdeptConfig("adept", 20, 39), 0.1, 0.01),
    "prompt_tuning": (AdeptConfig("prompt_tuning", 100), 1.0, 0.0),
    "dept": (AdeptConfig("dept", 60, 19, offset_positions=64), 1.0, 0.003),
}
STEPS = 200
MAX_LENGTH = 64


def main() -> None:
    """Train each method on 2,000 generated rows, test on 400, merge the ADePT model."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    tokenizer = load_tokenizer(str(MODEL))
    encoder = Encoder(tokenizer, "plain", MAX_LENGTH)
    labels = tuple(f"\n{word}" for word in LABELS.values())
    train, _ = encoder.encode_all(rows_of("train", 2000, labels))
    measure = Measure.of(encoder, rows_of("test", 400, labels), batch_size=100)
    test = [window for (window,) in measure.windows]
    results: dict[str, Result] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (config, prompt_rate, offset_rate) in METHODS.items():
            model = inject_adapter(load_model(str(MODEL)), config)
            collator, _ = make_collator(model, "shared_prefix", MAX_LENGTH)
            args = arguments(folder, prompt_rate, offset_rate)
            print(f"tuning {name} for {STEPS} steps ..", flush=True)
            trainer, results[name] = run(model, args, train, collator, measure)
            if name == "adept":
                trainer.save_model(f"{folder}/adapter")
                merged = merged_answers(model, tokenizer, test, Path(folder) / "merged")
                merged_accuracy = sum(
                    answer.strip() == labels[e.label].strip()
                    for answer, e in zip(merged, test, strict=True)
                ) / len(test)
    print_table(
        ["method", "before", "after", "trained parameters", "examples/s"],
        [
            [name, f"{r.before['accuracy']:.1%}", f"{r.after['accuracy']:.1%}",
             f"{r.trained_parameters:,}", f"{r.examples_per_second:.0f}"]
            for name, r in results.items()
        ],
    )  # fmt: skip
    print(f"merged into a stock Llama, its greedy answers: {merged_accuracy:.1%} right")


def rows_of(split: str, n: int, labels: tuple[str, ...]) -> list[Example]:
    """Generated rows as bare prompts; the answer stands on a line of its own, as in the stories."""
    return [
        Example(
            "", f"{r['instruction']}\n{r['input']}", f"\n{r['output']}",
            id=f"demo/{split}/{i}", labels=labels,
        )
        for i, r in enumerate(examples(0, n, split))
    ]  # fmt: skip


def arguments(folder: str, prompt_rate: float, offset_rate: float) -> AdeptTrainingArguments:
    """A short run on the CPU that keeps no checkpoint."""
    return AdeptTrainingArguments(
        output_dir=folder,
        learning_rate=prompt_rate,
        offset_learning_rate=offset_rate,
        max_steps=STEPS,
        save_strategy="no",
        report_to="none",
        logging_steps=STEPS,
        disable_tqdm=True,
        use_cpu=True,
    )


def merged_answers(model: Any, tokenizer: Any, test: list[Any], folder: Path) -> list[str]:
    """Answers of the merged model, loaded and run by stock transformers alone."""
    model, tokenizer = merge_adapter(model, tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    stock: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    stock_tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    texts = [tokenizer.decode(e.prompt_ids, skip_special_tokens=True) for e in test]
    batch = stock_tokenizer(texts, return_tensors="pt", padding=True)
    out = stock.generate(**batch, max_new_tokens=3, do_sample=False)
    return stock_tokenizer.batch_decode(
        out[:, batch.input_ids.shape[1] :], skip_special_tokens=True
    )


if __name__ == "__main__":
    main()
