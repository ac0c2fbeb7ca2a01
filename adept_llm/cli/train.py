"""adept-llm train: tune an adapter on a frozen model."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import torch
import transformers
from transformers.utils import logging

from adept_llm.adapters import AdeptConfig, inject_adapter
from adept_llm.adapters.storage import write_whole
from adept_llm.backbone import (
    check_context,
    load_config,
    load_model,
    load_tokenizer,
    pick_dtype,
)
from adept_llm.cli.parsing import parse
from adept_llm.cli.tuned import RUN_FILE
from adept_llm.errors import InputError
from adept_llm.evaluation.measure import Measure
from adept_llm.evaluation.metrics import RUNS_CODE
from adept_llm.evaluation.token_loss import TokenLoss
from adept_llm.memory import check_device, estimate, known_shape
from adept_llm.quantization import check_quantization
from adept_llm.table import format_table
from adept_llm.tasks import (
    Encoder,
    Example,
    fingerprint,
    get_task,
    label_set,
    load_split,
    read_instructions,
)
from adept_llm.training.arguments import AdeptTrainingArguments, DataArguments, ModelArguments
from adept_llm.training.deepspeed_config import read_deepspeed, zero_stage
from adept_llm.training.launch import adopt_slurm_ranks, leave_together
from adept_llm.training.run import make_collator, run


def main(argv: Sequence[str]) -> None:
    """Check, load, tune, measure, save.

    Raises:
        InputError: for whatever the user can mend; nothing is written then.
    """
    adopt_slurm_ranks()
    kinds = (ModelArguments, AdeptConfig, DataArguments, AdeptTrainingArguments)
    base, config, data, args = parse(kinds, argv)
    if not args.output_dir:
        raise InputError("output_dir: give a folder for the adapter")

    if args.disable_tqdm:
        logging.disable_progress_bar()
    name = base.model_name_or_path
    model_config = known_shape(name) or load_config(name, base.model_revision)
    dtype = pick_dtype(base.dtype, model_config)
    stage = zero_stage(read_deepspeed(args.deepspeed)) if args.deepspeed else 0
    check_quantization(base.quantization, model_config, dtype, stage)
    if base.quantization == "nf4" and stage == 3 and args.gradient_checkpointing:
        # only so are gathered 4-bit weights let go between forward and backward
        args.gradient_checkpointing_kwargs = {"use_reentrant": True}
    if stage != 3:  # a shard's size is not estimated, and sharded models know no meta device
        needs = estimate(
            model_config, config, dtype, base.quantization,
            args.per_device_train_batch_size, data.max_length, args.packing,
            args.gradient_checkpointing,
        )  # fmt: skip
        check_device(name, needs, args.use_cpu)
        say(args, f"{name}: {needs}")
    check_context(model_config, config.num_virtual_tokens, data.max_length)
    train_examples, validation_examples = read_data(data, args.seed)
    tokenizer = load_tokenizer(name, base.model_revision)
    encoder = Encoder(tokenizer, data.template, data.max_length)
    train, report = encoder.encode_all(train_examples)
    data_print = fingerprint(train_examples)
    say(args, f"train: {report}; data {data_print}")
    measure = make_measure(data, encoder, validation_examples, args.per_device_eval_batch_size)
    if measure is None and args.do_eval:
        raise InputError("eval_strategy: there is nothing to evaluate on; give --validation_file")
    if measure:
        say(args, f"validation: {measure.report}; data {fingerprint(validation_examples)}")

    model = load_model(name, base.model_revision, base.dtype, base.quantization)
    model = inject_adapter(model, config, tokenizer)
    collator, reason = make_collator(model, args.packing, data.max_length)
    if reason:
        say(args, f"padding instead of packing: {reason}")

    try:
        trainer, result = run(model, args, train, collator, measure)
    except InputError:
        with suppress(OSError):  # a folder that holds something stays
            Path(args.output_dir).rmdir()
        raise
    trainer.save_model(args.output_dir)
    if args.should_save:
        content = {
            "data": asdict(data)
            | {"labels": train_examples[0].labels, "quantization": base.quantization},
            "train": {"rows": len(train), "fingerprint": data_print},
            "training": args.to_sanitized_dict(),
            "result": asdict(result),
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        }
        path = Path(args.output_dir) / RUN_FILE
        write_whole(path, (json.dumps(content, indent=2) + "\n").encode())
    rows = [[f"{k} before", f"{v:.4f}"] for k, v in result.before.items()]
    rows += [[f"{k} after", f"{v:.4f}"] for k, v in result.after.items()]
    rows += [
        ["trained parameters", f"{result.trained_parameters:,}"],
        ["steps", str(result.steps)],
        ["examples/s", f"{result.examples_per_second:.1f}"],
        ["tokens/s", f"{result.tokens_per_second:.0f}"],
        ["adapter", str(args.output_dir)],
    ]
    say(args, format_table([config.method, ""], rows))
    leave_together()


def read_data(data: DataArguments, seed: int) -> tuple[list[Example], list[Example]]:
    """Training and validation examples; the latter empty where there are none.

    Raises:
        InputError: for data that is missing or malformed.
    """
    if data.task:
        task, reference = get_task(data.task), data.template == "reference"
        limits = {"train": data.max_train_samples, "validation": data.max_validation_samples}
        train, validation = (
            load_split(
                task, split, data.data_dir, limit, seed,
                shots=data.k_shot if split == "train" else None, reference=reference,
            )
            for split, limit in limits.items()
        )  # fmt: skip
        return train, validation
    assert data.train_file is not None
    train = read_instructions(data.train_file)
    validation = read_instructions(data.validation_file) if data.validation_file else []
    labels = label_set(train)
    if labels:
        validation = [replace(example, labels=labels) for example in validation]
        train = [replace(example, labels=labels) for example in train]
    return train[: data.max_train_samples], validation[: data.max_validation_samples]


def make_measure(
    data: DataArguments, encoder: Encoder, examples: list[Example], batch_size: int
) -> Measure | TokenLoss | None:
    """What to measure on validation examples, if there are any.

    A task's own metrics; accuracy of own labels; the loss on own free text, and on programs that
    may not be run.

    Raises:
        InputError: if no example fits.
    """
    if data.task:
        task, allowed = get_task(data.task), data.allow_code_execution
        if RUNS_CODE.isdisjoint(task.metrics) or allowed:
            return Measure.of_task(encoder, task, examples, batch_size, allowed)
    elif examples and examples[0].labels:
        return Measure.of(encoder, examples, batch_size=batch_size)
    return TokenLoss.of(encoder, examples, batch_size) if examples else None


def say(args: AdeptTrainingArguments, text: str) -> None:
    """Print once, whatever the number of ranks."""
    if args.process_index == 0:
        print(text, flush=True)
