"""What --help shows of each command: which arguments together, and examples.

An argument that no group names is shown behind them, except where a command has rare ones: train
shows those, and all of Trainer's that are not named here, with --help_all alone.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Layout:
    """The page of one command."""

    usage: str
    about: str = ""
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Title -> names of arguments."""
    rare: tuple[str, ...] = ()
    """Names that --help_all alone shows."""
    refused: tuple[str, ...] = ()
    """Trainer's that have no effect here, and are shown nowhere."""
    texts: dict[str, str] = field(default_factory=dict)
    """Name -> a text instead of the argument's own."""
    short: dict[str, str] = field(default_factory=dict)
    """Name -> a shorter one, where not all is shown."""
    examples: tuple[str, ...] = ()
    end: str = ""


# Trainer's own texts take several lines each
TEXTS_OF_TRAINER = {
    "gradient_accumulation_steps": "micro-batches in a step",
    "num_train_epochs": "passes over the training rows",
    "max_steps": "steps, instead of epochs; default: by the epochs",
    "lr_scheduler_type": "of both rates {linear, cosine, constant_with_warmup, ..}",
    "lr_scheduler_kwargs": "a mapping; one entry is --lr_scheduler_kwargs.min_lr 0.1",
    "gradient_checkpointing": "less memory, about a third slower",
    "torch_compile": "compile the layers: faster steps behind a slow first one",
    "deepspeed": "its JSON file; one entry is --deepspeed.zero_optimization.stage 2",
    "use_cpu": "on the CPU although there is a GPU, or although it is large",
    "seed": "of the order of the rows, of samples and of dropout",
    "eval_strategy": "when to measure the validation rows {no, steps, epoch}",
    "eval_steps": "steps between measurements; default: logging_steps",
    "load_best_model_at_end": "keep the adapter that measured best",
    "metric_for_best_model": "such as eval_loss; default: the task's own metric",
    "output_dir": "folder of the adapter, the log and checkpoints (required)",
    "resume_from_checkpoint": "auto, or the folder of a checkpoint",
    "save_strategy": "when to write checkpoints {no, steps, epoch}",
    "save_steps": "steps between checkpoints",
    "save_total_limit": "checkpoints that are kept",
    "disable_tqdm": "lines now and then instead of a bar",
}

TRAIN = Layout(
    usage="adept-llm train [FILE.yaml ..] --NAME VALUE ..",
    about="Tune an adapter on a frozen model. Arguments are words of the command line or lines of "
    "YAML or JSON files (`adept-llm files recipes` has ready ones), which come first: of several "
    "files the later one wins, and words win over files.",
    groups={
        "model": ("model_name_or_path", "dtype", "quantization"),
        "adapter": (
            "method", "num_virtual_tokens", "bottleneck_size", "prompt_rank", "prompt_init",
            "prompt_init_text", "units", "reference",
        ),
        "data": (
            "task", "data_dir", "train_file", "validation_file", "test_file", "template",
            "max_length", "loss_on", "max_train_samples", "max_validation_samples", "k_shot",
            "allow_code_execution",
        ),
        "training": (
            "learning_rate", "offset_learning_rate", "per_device_train_batch_size",
            "gradient_accumulation_steps", "tokens_per_batch", "num_train_epochs", "max_steps",
            "warmup_steps", "lr_scheduler_type", "lr_scheduler_kwargs", "packing",
            "gradient_checkpointing", "deepspeed", "use_cpu", "seed", "dry_run",
        ),
        "evaluation": (
            "eval_strategy", "eval_steps", "per_device_eval_batch_size", "metric_for_best_model",
            "load_best_model_at_end", "early_stopping_patience", "do_predict",
        ),
        "saving and logging": (
            "output_dir", "overwrite_output_dir", "resume_from_checkpoint", "save_steps",
            "save_total_limit", "logging_steps", "report_to",
        ),
    },
    rare=(
        "model_revision", "prompt_init_adapter", "bottleneck_dropout", "offset_positions",
        "offset_scale", "offset_init", "init_seed", "base_dropout", "allow_unsandboxed_code",
        "length_bucket", "save_strategy", "disable_tqdm", "dataloader_pin_memory",
    ),
    refused=(
        "label_smoothing_factor", "dataloader_drop_last", "train_sampling_strategy",
        "group_by_length", "save_only_model", "fsdp", "average_tokens_across_devices",
        "remove_unused_columns", "auto_find_batch_size",
    ),
    texts=TEXTS_OF_TRAINER,
    short={
        "bottleneck_size": "r, width or rank of the offset; default: 19, embedding_lora: 8",
        "quantization": "of the frozen linear layers",
        "method": "what is trained, see docs/methods.md",
        "prompt_init": "where the prompt starts",
        "packing": "how batches are laid out",
        "tokens_per_batch": "most at a time: a larger micro-batch is computed in pieces",
        "prompt_rank": "rank of the prompt (dpt), words mixed (superpos) or width (ulpt)",
        "units": "of trained values: the table's root mean square, or plain",
        "base_dropout": "train with the frozen base's own dropout (GPT-2, OPT)",
        "reference": "do as the authors' code does: all, or names in docs/methods.md",
        "max_length": "tokens of prompt and target; default: the task's own, or 256",
        "loss_on": "what is learnt",
        "k_shot": "train on so many examples, balanced by class",
        "learning_rate": "of the prompt, in --units; default: the method's own",
        "offset_learning_rate": "of the offset, likewise",
        "length_bucket": "sort so many drawn rows by length before they are cut (0: none)",
        "early_stopping_patience": "evaluations without a better metric before training stops",
        "do_predict": "answer the test split of a task once; own data: --test_file",
    },
    examples=(
        "adept-llm train recipes/llama2_7b.yaml my.yaml --task sst2 --output_dir out --dry_run",
        "adept-llm train --model_name_or_path Qwen/Qwen3-0.6B --train_file mine.jsonl \\",
        "    --validation_file held_out.jsonl --max_steps 500 --output_dir runs/mine",
    ),
    end="--help_all shows what is rarely needed and all of transformers.TrainingArguments.",
)  # fmt: skip

DECODING = ("max_new_tokens", "num_beams", "do_sample", "temperature", "top_p", "seed")
TUNED = ("adapter", "model_name_or_path", "dtype", "quantization", "template", "max_length")
LAYOUTS = {
    "train": TRAIN,
    "evaluate": Layout(
        usage="adept-llm evaluate [FILE.yaml] --adapter FOLDER (--task NAME | --file FILE | "
        "--text_file FILE) ..",
        about="Metrics of a tuned model on a split or on own rows, or its loss on plain text with "
        "and without the adapter.",
        groups={
            "tuned model": TUNED,
            "rows": ("task", "data_dir", "split", "file", "text_file", "max_samples", "seed"),
            "how": ("batch_size", "packing", "allow_code_execution", "allow_unsandboxed_code"),
            "output": ("output_file", "predictions_file"),
        },
        examples=(
            "adept-llm evaluate --adapter runs/sst2 --task sst2 --split test",
            "adept-llm evaluate --adapter runs/mine --file held_out.jsonl "
            "--predictions_file answers.jsonl",
        ),
    ),
    "generate": Layout(
        usage="adept-llm generate [FILE.yaml] --adapter FOLDER (--prompt TEXT | --file FILE) ..",
        about="Answers of a tuned model to a prompt or to each row of a file. The exit code is 0 "
        "where all rows were answered, 1 where some were not.",
        groups={
            "tuned model": TUNED,
            "what to answer": ("prompt", "input", "file", "output_file"),
            "how": (*DECODING, "batch_size", "stream"),
        },
        examples=(
            "adept-llm generate --adapter runs/mine --prompt 'Translate into French.' "
            "--input 'the cat'",
            "adept-llm generate --adapter runs/mine --file rows.jsonl --output_file answers.jsonl",
            "adept-llm generate --adapter runs/a runs/b --file rows.jsonl   # each names its own",
        ),
    ),
    "chat": Layout(
        usage="adept-llm chat [FILE.yaml] --adapter FOLDER ..",
        about="A conversation with a tuned model: each line of the input is a turn, Ctrl-D ends. "
        "Templates other than chat know no turns: each line is asked on its own.",
        groups={"tuned model": TUNED, "how": DECODING},
        examples=("adept-llm chat --adapter runs/mine",),
    ),
    "merge": Layout(
        usage="adept-llm merge [FILE.yaml] --adapter FOLDER --output_dir FOLDER ..",
        about="Base model and adapter become a stock checkpoint, written file by file.",
        examples=("adept-llm merge --adapter runs/mine --output_dir runs/mine-merged",),
    ),
    "export": Layout(
        usage="adept-llm export RUN --format FORMAT --output_dir DIR",
        about="Write a tuned model in a format that other programs read; docs/export.md says which "
        "program reads which.",
        examples=("adept-llm export runs/mine --format lora --output_dir runs/mine-lora",),
    ),
    "import": Layout(
        usage="adept-llm import SOURCE --output_dir DIR",
        about="Make an adapter of this package of PEFT's prompt tuning, or of what the code of "
        "DePT's or ADePT's authors saves.",
        examples=("adept-llm import user/repo --output_dir runs/theirs",),
    ),
    "report": Layout(
        usage="adept-llm report RUN .. --output FILE [--levels SHARE ..]",
        about="Compare finished runs: tables, curves, rates, words and wrong predictions on one "
        "page that needs no network, or the table of results alone.",
        examples=("adept-llm report runs --output page.html",),
    ),
    "inspect": Layout(
        usage="adept-llm inspect RUN --output page.html [--file ROWS] [--open]",
        about="Look into a finished run: the words that it moves, those that its prompt is near, "
        "and the attention that answers pay to the prompt, layer by layer.",
        examples=("adept-llm inspect runs/mine --output mine.html",),
    ),
    "estimate": Layout(
        usage="adept-llm estimate [FILE.yaml] --model_name_or_path NAME ..",
        about="Parameters, memory and time of a run, by the model's shape: no weight is read.",
        groups={
            "model and batch": (
                "model_name_or_path", "dtype", "per_device_train_batch_size", "num_tokens",
                "tokens_per_batch", "packing", "loss_on",
            ),
            "machines and time": (
                "deepspeed", "ranks", "gpu_memory", "tokens_per_second", "examples",
            ),
            "adapter": TRAIN.groups["adapter"][:4],
        },
        rare=(
            "prompt_init", "prompt_init_text", "prompt_init_adapter", "bottleneck_dropout",
            "offset_positions", "offset_scale", "offset_init", "init_seed", "base_dropout", "units",
        ),
        short=TRAIN.short,
        examples=(
            "adept-llm estimate --model_name_or_path meta-llama/Llama-2-13b-hf "
            "--num_virtual_tokens 100",
            "adept-llm estimate --model_name_or_path meta-llama/Llama-2-7b-hf --gpu_memory 24",
        ),
        end="--help_all shows the adapter's other arguments.",
    ),
    "sweep": Layout(
        usage="adept-llm sweep FILE.yaml [--output_dir FOLDER] [--parallel N] [--concurrent K] "
        "[--slurm OPTIONS] [--NAME VALUE ..]",
        about="Search over arguments, and the chosen setting with several seeds; stopped, the same "
        "command goes on. All other words are arguments of every run; docs/sweep.md describes the "
        "file.",
        examples=(
            "adept-llm sweep rates.yaml --model_name_or_path DIR --task sst2 "
            "--output_dir runs/rates",
        ),
    ),
    "tasks": Layout(
        usage="adept-llm tasks [NAME [--show N] ..]",
        about="The benchmark tasks; with a name, its examples as a model reads them.",
        examples=("adept-llm tasks", "adept-llm tasks boolq --show 3 --template alpaca"),
    ),
    "doctor": Layout(
        usage="adept-llm doctor ..",
        about="One line for each thing that a run needs of this machine, with a fix where it "
        "is missing. The exit code is 0 if nothing fails, otherwise 2.",
        examples=(
            "adept-llm doctor --fix_hints --model_name_or_path meta-llama/Llama-2-7b-hf",
            "torchrun --nproc_per_node 8 -m adept_llm.cli.main doctor --ranks 8",
        ),
    ),
    "files": Layout(
        usage="adept-llm files [NAME ..]",
        about="Paths of the recipes, DeepSpeed configurations, Slurm scripts and pages of "
        "documentation that come with adept_llm, one a line.",
        examples=(
            "deepspeed $(adept-llm files llama2_adept.py llama2_7b.yaml)",
            "less $(adept-llm files methods.md)",
        ),
    ),
    "completion": Layout(
        usage="adept-llm completion bash|zsh",
        about="A script that completes commands and arguments by the Tab key.",
        examples=(
            "eval \"$(adept-llm completion bash)\"            # in ~/.bashrc",
            "adept-llm completion zsh > ~/.zfunc/_adept-llm   # ~/.zfunc is there, and in fpath",
        ),
    ),
}  # fmt: skip
