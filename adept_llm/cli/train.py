"""adept-llm train: tune an adapter on a frozen model."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.utils import logging

from adept_llm.adapters import AdeptConfig, inject_adapter, read_adapter
from adept_llm.base.loading import (
    check_context,
    load_config,
    load_model,
    load_tokenizer,
    pick_dtype,
)
from adept_llm.base.memory import check_device, estimate, known_shape
from adept_llm.base.quantization import check_quantization
from adept_llm.cli.columns import format_table
from adept_llm.cli.data import make_measure, read_data
from adept_llm.cli.parsing import check_writable, parse
from adept_llm.cli.tuned import RUN_FILE
from adept_llm.compat.deepspeed import gathered
from adept_llm.compat.transformers import commit_of
from adept_llm.data import Encoded, Encoder, fingerprint
from adept_llm.errors import InputError
from adept_llm.files import write_whole
from adept_llm.training.arguments import AdeptTrainingArguments, DataArguments, ModelArguments
from adept_llm.training.deepspeed_config import read_deepspeed, zero_stage
from adept_llm.training.launch import adopt_slurm_ranks, leave_together
from adept_llm.training.run import Result, make_collator, run


def main(argv: Sequence[str]) -> None:
    """Check, load, tune, measure, save.

    Raises:
        InputError: for whatever the user can mend; nothing is written then.
    """
    adopt_slurm_ranks()
    kinds = (ModelArguments, AdeptConfig, DataArguments, AdeptTrainingArguments)
    base, config, data, args = parse(kinds, argv)
    if args.disable_tqdm:
        logging.disable_progress_bar()
    model_config = check_base(base, config, data, args)

    examples, validation = read_data(data, args.seed)
    tokenizer = load_tokenizer(base.model_name_or_path, base.model_revision)
    encoder = Encoder(tokenizer, data.template, data.max_length)
    train, report = encoder.encode_all(examples)
    check_ids(train, model_config)
    given = asdict(data) | {
        "labels": examples[0].labels,
        "quantization": base.quantization,
        "train_rows": len(train),
        "train_fingerprint": fingerprint(examples),
    }
    say(args, f"train: {report}; data {given['train_fingerprint']}")
    measure = make_measure(data, encoder, validation, args.per_device_eval_batch_size)
    if measure:
        say(args, f"validation: {measure.report}; data {fingerprint(validation)}")
    elif args.do_eval:
        raise InputError("eval_strategy: there is nothing to evaluate on; give --validation_file")

    model = load_model(base.model_name_or_path, base.model_revision, base.dtype, base.quantization)
    model = inject_adapter(
        model, config, tokenizer, gather=gathered, revision=commit_of(model.config)
    )
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
        write_run(args, given, result)
    say(args, format_result(config.method, result, args))
    leave_together()


def check_base(
    base: ModelArguments, config: AdeptConfig, data: DataArguments, args: AdeptTrainingArguments
) -> Any:
    """The base's configuration; says what it needs, before any weight is read.

    Raises:
        InputError: for a base that cannot carry the adapter, or that does not fit this machine.
    """
    check_writable(str(args.output_dir or ""))
    if config.prompt_init_adapter:
        read_adapter(config.prompt_init_adapter)
    name = base.model_name_or_path
    model_config = known_shape(name) or load_config(name, base.model_revision)
    dtype = pick_dtype(base.dtype, model_config)
    stage = zero_stage(read_deepspeed(args.deepspeed)) if args.deepspeed else 0
    check_quantization(base.quantization, model_config, dtype, stage)
    check_context(model_config, config.num_virtual_tokens, data.max_length)
    if base.quantization == "nf4" and stage == 3 and args.gradient_checkpointing:
        # only so are gathered 4-bit weights let go between forward and backward
        args.gradient_checkpointing_kwargs = {"use_reentrant": True}
    if stage != 3:  # a shard's size is not estimated, and sharded models know no meta device
        needs = estimate(
            model_config, config, dtype, base.quantization,
            args.per_device_train_batch_size, data.max_length, args.packing,
            bool(args.gradient_checkpointing),
        )  # fmt: skip
        if needs:
            check_device(name, needs, args.use_cpu)
        say(args, f"{name}: {needs or 'memory is not estimated for such a model'}")
    return model_config


def check_ids(examples: Sequence[Encoded], model_config: Any) -> None:
    """Refuse ids beyond the base's table: its tokenizer was extended, and they would be read as P.

    Raises:
        InputError: naming the example.
    """
    size = model_config.get_text_config().vocab_size
    for example in examples:
        largest = max([*example.prompt_ids, *example.target_ids])
        if largest >= size:
            raise InputError(
                f"{example.id}: token id {largest} lies beyond the base's table of {size} rows; "
                "its tokenizer has more tokens than the model: take the one it was trained with"
            )


def write_run(args: AdeptTrainingArguments, given: dict[str, Any], result: Result) -> None:
    """Leave a record of the run beside its adapter."""
    content = {
        "data": given,
        "training": args.to_sanitized_dict(),
        "result": asdict(result),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    text = json.dumps(content, indent=2) + "\n"
    write_whole(Path(str(args.output_dir)) / RUN_FILE, text.encode())


def format_result(method: str, result: Result, args: AdeptTrainingArguments) -> str:
    """The final table."""
    rows = [[f"{name} before", f"{value:.4f}"] for name, value in result.before.items()]
    rows += [[f"{name} after", f"{value:.4f}"] for name, value in result.after.items()]
    rows += [
        ["trained parameters", f"{result.trained_parameters:,}"],
        ["steps", str(result.steps)],
        ["examples/s", f"{result.examples_per_second:.1f}"],
        ["tokens/s", f"{result.tokens_per_second:.0f}"],
        ["adapter", str(args.output_dir)],
    ]
    return format_table([method, ""], rows)


def say(args: AdeptTrainingArguments, text: str) -> None:
    """Print once, whatever the number of ranks."""
    if args.process_index == 0:
        print(text, flush=True)
