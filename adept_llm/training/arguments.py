"""Arguments of a training run beyond the adapter's: model, data, and Trainer's own with ours."""

import math
from dataclasses import dataclass, field
from importlib.util import find_spec

import torch
from torch.distributed import is_initialized
from transformers import TrainingArguments

from adept_llm.adapters import METHODS
from adept_llm.base.quantization import QUANTIZATIONS
from adept_llm.compat.transformers import use_one_gpu
from adept_llm.data import LOSSES, TEMPLATES
from adept_llm.errors import InputError
from adept_llm.packing import PACKINGS
from adept_llm.packing.compiled import check_compiler
from adept_llm.tasks import get_task
from adept_llm.training.deepspeed_config import check_deepspeed

OWN_DATA_LENGTH = 256
WARMUP = 0.06  # RoBERTa's share, and LoRA's; a number of steps fits runs of one length only
LARGEST_SEED = 2**32 - 1  # numpy's
# what checkpoints can read back from DeepSpeed's partitions: exp_avg and exp_avg_sq in fp32
SAVED_UNDER_DEEPSPEED = ("adamw_torch", "adamw_torch_fused")
IGNORED_BY_US = {
    "label_smoothing_factor": 0.0,
    "dataloader_drop_last": False,
    "train_sampling_strategy": "random",
    "group_by_length": False,
    "save_only_model": False,
    "fsdp": "",
}
DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class ModelArguments:
    """Which frozen model."""

    model_name_or_path: str = field(metadata={"help": "hub name or folder of the base model"})
    model_revision: str | None = field(default=None, metadata={"help": "commit on the hub"})
    dtype: str = field(
        default="auto", metadata={"help": "of the frozen weights", "choices": DTYPES}
    )
    quantization: str = field(
        default="none",
        metadata={"help": "of the frozen linear layers: none, nf4, int8", "choices": QUANTIZATIONS},
    )


@dataclass(frozen=True)
class DataArguments:
    """Which data, and how it is written.

    Raises:
        InputError: unless exactly one of task and train_file is given, or for an unknown task.
    """

    task: str | None = field(default=None, metadata={"help": "a registered benchmark task"})
    data_dir: str | None = field(
        default=None, metadata={"help": "folder with <split>.jsonl or .parquet of the task"}
    )
    train_file: str | None = field(
        default=None, metadata={"help": "own data: .jsonl, .json, .csv or .parquet"}
    )
    validation_file: str | None = field(default=None, metadata={"help": "likewise"})
    test_file: str | None = field(
        default=None, metadata={"help": "likewise; answered once, by the trained model"}
    )
    template: str = field(
        default="plain", metadata={"help": "how rows are written", "choices": TEMPLATES}
    )
    max_length: int = field(
        default=0,
        metadata={
            "help": "tokens of prompt and target, virtual tokens not counted; default: the task's "
            f"own, {OWN_DATA_LENGTH} for own data"
        },
    )
    loss_on: str = field(
        default="target",
        metadata={
            "help": "what is learnt: the target, all (prompt and target, tokenised as one text), "
            "or every turn of the assistant in conversations (needs --template chat)",
            "choices": LOSSES,
        },
    )
    max_train_samples: int | None = field(default=None, metadata={"help": "sub-sample, seeded"})
    max_validation_samples: int | None = field(default=None, metadata={"help": "likewise"})
    k_shot: int | None = field(
        default=None, metadata={"help": "train on so many examples, balanced by class, seeded"}
    )
    allow_code_execution: bool = field(
        default=False, metadata={"help": "let mbpp's metric run the programs of the model"}
    )
    allow_unsandboxed_code: bool = field(
        default=False, metadata={"help": "let them run also where bubblewrap starts no sandbox"}
    )

    def __post_init__(self) -> None:
        if bool(self.task) == bool(self.train_file):
            raise InputError("data: give either --task or --train_file")
        if self.data_dir and not self.task:
            raise InputError("data_dir: goes with --task; own data is given by --train_file")
        for name in ("validation_file", "test_file"):
            if getattr(self, name) and not self.train_file:
                raise InputError(f"{name}: goes with --train_file")
        for name in ("k_shot", "max_train_samples", "max_validation_samples"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name}: {value} rows are none; give 1 or more")
        if self.k_shot and not self.task:
            raise InputError("k_shot: goes with --task; for own data use --max_train_samples")
        if not self.max_length:
            length = get_task(self.task).max_length if self.task else OWN_DATA_LENGTH
            object.__setattr__(self, "max_length", length)


@dataclass
class AdeptTrainingArguments(TrainingArguments):
    """Trainer's arguments with defaults for adapters, the offset's rate and the packing."""

    learning_rate: float | None = field(  # type: ignore[assignment]
        default=None,
        metadata={"help": "of the prompt, in the adapter's --units; default: the method's own"},
    )
    offset_learning_rate: float | None = field(
        default=None, metadata={"help": "of the offset, likewise"}
    )
    packing: str = field(
        default="shared_prefix",
        metadata={"help": "shared_prefix or padded", "choices": PACKINGS},
    )
    per_device_train_batch_size: int = field(default=32, metadata={"help": "examples"})
    per_device_eval_batch_size: int = field(default=32, metadata={"help": "examples"})
    tokens_per_batch: int | None = field(
        default=None,
        metadata={
            "help": "at most so many tokens at a time, virtual ones and padding counted: a larger "
            "micro-batch is computed in pieces, and the loss is the same; default: no bound"
        },
    )
    length_bucket: int = field(
        default=0,
        metadata={
            "help": "sort so many drawn examples by length, long ones first, before they are cut "
            "into batches (0: none)"
        },
    )
    warmup_steps: float = field(
        default=WARMUP, metadata={"help": "steps, or a fraction of all of them below 1"}
    )
    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "throw away what an older run left in output_dir"}
    )
    logging_steps: float = field(default=1, metadata={"help": "steps between log lines"})
    report_to: None | str | list[str] = field(
        default="tensorboard", metadata={"help": "integrations to report to, or none"}
    )
    early_stopping_patience: int | None = field(
        default=None,
        metadata={"help": "evaluations without a better metric after which training stops"},
    )
    do_predict: bool = field(
        default=False,
        metadata={
            "help": "answer the test split of a task once, by the trained model; own data: "
            "give --test_file"
        },
    )
    remove_unused_columns: bool = field(default=False, metadata={"help": "not used here"})
    dataloader_pin_memory: bool = field(default=False, metadata={"help": "as in Trainer"})

    def __post_init__(self) -> None:
        """Check ours, then Trainer's."""
        if not self.output_dir:
            raise InputError("output_dir: give a folder for the adapter, the log and checkpoints")
        if self.overwrite_output_dir and self.resume_from_checkpoint:
            raise InputError(
                "overwrite_output_dir: throws away what --resume_from_checkpoint goes on from; "
                "leave out one of them"
            )
        default = METHODS["adept"]
        if self.learning_rate is None:
            self.learning_rate = default.prompt.default_rate
        if self.offset_learning_rate is None:
            self.offset_learning_rate = default.offset.default_rate
        if self.packing not in PACKINGS:
            raise InputError(f"packing: '{self.packing}' is unknown; known: {', '.join(PACKINGS)}")
        for name in ("learning_rate", "offset_learning_rate"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name}: {getattr(self, name)} is not a rate; give 0 or more")
        self._check_counts()
        self._check_ignored()
        self._check_best()
        if self.deepspeed:
            if self.torch_compile or self.torch_compile_backend or self.torch_compile_mode:
                raise InputError(
                    "torch_compile: layers whose weights DeepSpeed gathers are not compiled "
                    "here; leave out one of them"
                )
            check_deepspeed(self.deepspeed, self.bf16 or self.fp16)
            optimizer = getattr(self.optim, "value", self.optim)
            if optimizer not in SAVED_UNDER_DEEPSPEED:
                raise InputError(
                    f"optim: the state of {optimizer} cannot be saved under DeepSpeed; give "
                    f"--optim {SAVED_UNDER_DEEPSPEED[0]}, or leave out --deepspeed"
                )
            cpu = self.use_cpu or not torch.cuda.is_available()
            if cpu and not (self.use_cpu and is_initialized()):
                # Trainer would take each rank for a run of its own
                raise InputError(
                    "deepspeed: the ranks have not met; call use_cpu = "
                    "adept_llm.training.launch.join_ranks(deepspeed, use_cpu) before"
                )
        super().__post_init__()
        # copies of the model would cut packed rows, and the batch would grow without a word
        use_one_gpu(self)
        if self.torch_compile:
            check_compiler(self.device.type, self.torch_compile_backend)

    def _check_counts(self) -> None:
        for name in (
            "per_device_train_batch_size", "per_device_eval_batch_size",
            "gradient_accumulation_steps",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise InputError(f"{name}: must be at least 1")
        if self.tokens_per_batch is not None and self.tokens_per_batch < 1:
            raise InputError(f"tokens_per_batch: {self.tokens_per_batch} is none; leave it out")
        if self.length_bucket < 0:
            raise InputError(f"length_bucket: {self.length_bucket} is none; give 0 or more")
        if self.max_steps == 0:
            raise InputError("max_steps: 0 is none; give a positive number")
        for name in ("seed", "data_seed"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= LARGEST_SEED:
                raise InputError(f"{name}: {value} is none; give 0 to {LARGEST_SEED}")
        if not 0 < self.num_train_epochs < math.inf:
            raise InputError(
                f"num_train_epochs: {self.num_train_epochs} trains nothing; give a number above 0"
            )
        if not 0 <= self.warmup_steps < math.inf:
            raise InputError(
                f"warmup_steps: {self.warmup_steps} is none; give steps, or a fraction below 1"
            )
        if self.max_steps > 0:
            self.check_warmup(self.max_steps)

    def check_warmup(self, steps: int) -> None:
        """Refuse a warm-up that never ends.

        Args:
            steps: of the run.

        Raises:
            InputError: naming both.
        """
        if self.warmup_steps >= 1 and self.warmup_steps > steps:
            raise InputError(
                f"warmup_steps: {self.warmup_steps:g} of {steps} steps would never end; give "
                f"fewer, or a fraction such as {WARMUP}"
            )

    def _check_ignored(self) -> None:
        """Refuse what Trainer offers and adapters, our loss or our sampler would not follow."""
        for name, harmless in IGNORED_BY_US.items():
            value = getattr(self, name, harmless)
            value = getattr(value, "value", value)
            if value != harmless and value:
                raise InputError(f"{name}: has no effect here; leave it out")
        if self.auto_find_batch_size:
            raise InputError(
                "auto_find_batch_size: would change the global batch and so what is learnt; "
                "`adept-llm estimate --gpu_memory GIB` tells the largest that fits"
            )
        if self.use_liger_kernel and find_spec("liger_kernel") is None:
            raise InputError("use_liger_kernel: pip install liger-kernel, on a machine with a GPU")
        if getattr(self, "average_tokens_across_devices", True) is False:
            raise InputError("average_tokens_across_devices: is always on here; leave it out")
        if getattr(self.save_strategy, "value", self.save_strategy) == "best":
            raise InputError(
                "save_strategy: 'best' is steps or epoch with --load_best_model_at_end true here, "
                "which saves each new best"
            )

    def _check_best(self) -> None:
        evaluates = str(getattr(self.eval_strategy, "value", self.eval_strategy)) != "no"
        if self.load_best_model_at_end and not evaluates:
            raise InputError("load_best_model_at_end: needs --eval_strategy steps or epoch")
        if self.early_stopping_patience is not None:
            if not self.load_best_model_at_end:
                raise InputError("early_stopping_patience: needs --load_best_model_at_end true")
            if self.early_stopping_patience < 1:
                raise InputError("early_stopping_patience: must be at least 1")
