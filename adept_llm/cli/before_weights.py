"""What a run needs of its base, its rows and the machine: checked before a weight is read."""

import math
from typing import TYPE_CHECKING, Any

import torch

from adept_llm.adapters import AdeptConfig, saved_prompt
from adept_llm.base.loading import check_context, load_config, pick_dtype
from adept_llm.base.memory import Needs, check_device, estimate, on_gpu
from adept_llm.base.quantization import check_quantization
from adept_llm.base.shapes import known_shape
from adept_llm.base.sharding import Sharding
from adept_llm.cli.dry_run import plan_of
from adept_llm.data import Stored
from adept_llm.errors import InputError
from adept_llm.packing import computed_tokens, why_not_packed
from adept_llm.training.arguments import AdeptTrainingArguments, DataArguments, ModelArguments
from adept_llm.training.choices import check_choices
from adept_llm.training.deepspeed_config import read_deepspeed, zero_stage
from adept_llm.training.pieces import Pieces

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def number_of_steps(args: AdeptTrainingArguments, examples: int) -> int:
    """Optimizer steps of the run."""
    if args.max_steps > 0:
        return args.max_steps
    ranks = max(args.world_size, 1)
    batch = args.train_batch_size * args.gradient_accumulation_steps * ranks
    return math.ceil(args.num_train_epochs * math.ceil(examples / batch))


def check_base(
    base: ModelArguments, config: AdeptConfig, data: DataArguments, args: AdeptTrainingArguments
) -> Any:
    """The base's configuration; says what it needs, before any weight is read.

    Raises:
        InputError: for a base that cannot carry the adapter, or that does not fit this machine.
    """
    check_choices(args)
    if unused := unused_gpus(args):
        say(args, unused)
    if config.prompt_init_adapter:
        saved_prompt(config.prompt_init_adapter)
    name = base.model_name_or_path
    model_config = known_shape(name) or load_config(name, base.model_revision)
    dtype = pick_dtype(base.dtype, model_config)
    stage = zero_stage(read_deepspeed(args.deepspeed)) if args.deepspeed else 0
    check_quantization(base.quantization, model_config, dtype, stage)
    check_context(model_config, config.num_virtual_tokens, data.max_length)
    if stage != 3:  # a shard's size is not estimated, and sharded models know no meta device
        most, checkpoints = args.tokens_per_batch, bool(args.gradient_checkpointing)
        needs = needs_of(base, config, data, args, model_config, most, checkpoints)
        if needs:
            check_device(name, needs, args.use_cpu)
        say(args, f"{name}: {needs or 'memory is not estimated for such a model'}")
    return model_config


def unused_gpus(args: AdeptTrainingArguments) -> str | None:
    """What to say where one process, and so one GPU, does the work that several could share."""
    gpus = torch.cuda.device_count()
    if args.world_size > 1 or args.n_gpu < 1 or gpus < 2:
        return None
    return f"1 of {gpus} GPUs is used; torchrun --nproc_per_node {gpus} uses all"


def needs_of(
    base: ModelArguments,
    config: AdeptConfig,
    data: DataArguments,
    args: AdeptTrainingArguments,
    model_config: Any,
    most: int | None,
    checkpoints: bool,
) -> Needs | None:
    """What a run needs of a device that computes `most` tokens at a time, or whole batches."""
    deepspeed = read_deepspeed(args.deepspeed) if args.deepspeed else {}
    return estimate(
        model_config, config, pick_dtype(base.dtype, model_config), base.quantization,
        args.per_device_train_batch_size, data.max_length, args.packing, checkpoints, data.loss_on,
        Sharding.of(deepspeed, args.world_size), most, on_gpu(args.use_cpu),
    )  # fmt: skip


def sizes_of(
    args: AdeptTrainingArguments,
    config: AdeptConfig,
    train: Stored,
    steps: int,
    packed: bool,
) -> tuple[int, int]:
    """Most tokens that a run computes at a time, and those of its longest row alone."""
    plan = plan_of(args, config, train, steps)
    longest = computed_tokens(config.num_virtual_tokens, [plan.lengths[-1] - 1], packed)
    return plan.largest.packed if packed else plan.largest.padded, longest


def why_padded(
    args: AdeptTrainingArguments, config: AdeptConfig, model_config: Any, max_length: int
) -> str | None:
    """Why the rows would be padded, or None."""
    if args.packing == "padded":
        return "as asked"
    return why_not_packed(model_config, config.num_virtual_tokens + max_length)


def check_sizes(args: AdeptTrainingArguments, config: AdeptConfig, train: Stored) -> None:
    """Refuse a row that is longer than what is computed at a time.

    Raises:
        InputError: naming the longest.
    """
    if args.tokens_per_batch is None:
        return
    pieces = Pieces(args.tokens_per_batch, config.num_virtual_tokens)
    pieces.check(train.lengths, lambda index: train[index].id)


def check_ids(examples: Stored, model_config: "PretrainedConfig") -> None:
    """Refuse ids beyond the base's table: its tokenizer was extended, and they would be read as P.

    Raises:
        InputError: naming the example.
    """
    size = model_config.get_text_config().vocab_size
    if examples.about.largest_id < size:
        return
    for example in examples:
        largest = max([*example.prompt_ids, *example.target_ids])
        if largest >= size:
            raise InputError(
                f"{example.id}: token id {largest} lies beyond the base's table of {size} rows; "
                "its tokenizer has more tokens than the model: take the one it was trained with"
            )


def say(args: AdeptTrainingArguments, text: str) -> None:
    """Print once, whatever the number of ranks."""
    if args.process_index == 0:
        print(text, flush=True)
