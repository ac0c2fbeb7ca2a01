r"""What adapters are compared with: the base that is only asked, LoRA, its table, all of it.

    python recipes/baseline.py --method lora --learning_rate 1e-3 --model_name_or_path DIR \
        --task sst2 --data_dir DIR --do_predict true --output_dir runs/lora

One's own loop in a file: data, batches and measures are those of `adept-llm train`, whose arguments
it takes but for the adapter's. It leaves run.json, log.jsonl and predictions.jsonl, which
`adept-llm sweep` and `adept-llm report` read; the tuned weights are not kept.
"""

import json
import math
import os
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import set_seed

from adept_llm.adapters import embedding_device
from adept_llm.base.loading import context_of, load_config, load_model, load_tokenizer
from adept_llm.cli.main import quiet, told
from adept_llm.cli.parsing import check_writable, make_parser, parse
from adept_llm.cli.train import data_record
from adept_llm.data import Encoded, Encoder
from adept_llm.data.cached import encode_source
from adept_llm.errors import InputError
from adept_llm.evaluation.answers import Answered
from adept_llm.evaluation.measure import Measure, make_measure, measure_answers
from adept_llm.evaluation.shots import behind, shot_ids
from adept_llm.packing import Batch, Batcher, make_batcher, summed_loss
from adept_llm.record import BaseRecord, RunRecord
from adept_llm.tasks import get_task
from adept_llm.training.arguments import AdeptTrainingArguments, DataArguments, ModelArguments
from adept_llm.training.data import read_data, read_test, train_source
from adept_llm.training.log_file import LOG_FILE
from adept_llm.training.peak_memory import peak_memory_gb, start_counting
from adept_llm.training.run import Result
from adept_llm.training.run_folder import claimed, clear, is_finished

METHODS = ("zero_shot", "few_shot", "lora", "table", "full")
TRAINED = METHODS[2:]
# what the loop below reads; any other argument it would pass over
READ = frozenset(
    "model_name_or_path model_revision dtype method lora_rank shots task data_dir train_file "
    "validation_file test_file template max_length loss_on max_train_samples "
    "max_validation_samples k_shot output_dir overwrite_output_dir resume_from_checkpoint "
    "max_steps learning_rate warmup_steps max_grad_norm seed packing per_device_train_batch_size "
    "per_device_eval_batch_size eval_strategy eval_steps do_predict run_name".split()
)
# which it does anyway, or which change nothing that is learnt
ANYWAY: dict[str, Any] = {
    "save_strategy": "no", "report_to": "none", "optim": "adamw_torch", "do_train": True,
    "do_eval": True, "disable_tqdm": True,
}  # fmt: skip


@dataclass(frozen=True)
class BaselineArguments:
    """Which baseline.

    Raises:
        InputError: for one that is unknown, or shots that are none.
    """

    method: str = field(metadata={"help": ", ".join(METHODS), "choices": METHODS})
    lora_rank: int = field(
        default=1, metadata={"help": "of LoRA where PEFT puts it by itself: mostly q_proj, v_proj"}
    )
    shots: int = field(default=4, metadata={"help": "training rows in front of each text"})

    def __post_init__(self) -> None:
        if self.lora_rank < 1 or self.shots < 1:
            raise InputError("lora_rank, shots: give 1 or more")
        if self.method == "lora" and not find_spec("peft"):
            raise InputError("method: lora needs PEFT; pip install peft")


KINDS = (ModelArguments, BaselineArguments, DataArguments, AdeptTrainingArguments)


def main(argv: Sequence[str]) -> None:
    """Read, tune, measure, record."""
    base, baseline, data, args = parse(KINDS, argv, check_given)
    folder = Path(args.output_dir)
    check_writable(folder)
    model_config = load_config(base.model_name_or_path, base.model_revision)
    if baseline.method == "lora":
        check_lora(model_config.model_type)
    with claimed(folder):
        if is_finished(folder, args.resume_from_checkpoint, args.overwrite_output_dir):
            return
        clear(folder)
        set_seed(args.seed)
        examples, validation = read_data(data, args.seed)
        if not validation:
            raise InputError("validation_file: baselines are compared by it; give one")
        encoder = Encoder(
            load_tokenizer(base.model_name_or_path, base.model_revision),
            data.template,
            data.max_length,
            data.loss_on,
        )
        train = encode_source(encoder, train_source(data, args.seed))
        task = get_task(data.task) if data.task else None
        # free text without a task is told by its loss alone, which stands behind no shots
        measured = measure_answers if baseline.method == "few_shot" else make_measure
        measure: Any = measured(encoder, validation, task, args.per_device_eval_batch_size)
        rows = read_test(data, args.seed, args.do_predict, examples[0].labels)
        test: Any = None
        if rows:
            test = measure_answers(encoder, rows, task, args.per_device_eval_batch_size)
        shots: list[int] = []
        if baseline.method == "few_shot":
            shots = shot_ids(encoder, examples, baseline.shots, args.seed)
            measure, test = behind(measure, shots), test and behind(test, shots)
        longest = len(shots) + data.max_length
        if longest > (context_of(model_config) or longest):
            raise InputError(
                f"max_length: {len(shots)} tokens of shots and {data.max_length} of text exceed "
                f"the model's context of {context_of(model_config)}; lower --max_length or --shots"
            )

        dtype = "float32" if baseline.method == "full" else base.dtype
        model: Any = load_model(base.model_name_or_path, base.model_revision, dtype)
        batcher = make_batcher(model, args.packing, longest)
        model, trained = prepared(model, baseline)
        start_counting(embedding_device(model))
        record = RunRecord.start(
            BaseRecord(base.model_name_or_path, base.model_revision, base.dtype, "none"),
            asdict(baseline),
            data_record(data, train, validation),
            {"model": asdict(base), "data": asdict(data), "training": args.to_dict()},
        )
        # all weights are fp32 masters then; LoRA's and the table's are few, and cast by themselves
        half = computing(baseline.method == "full" and base.dtype == "bfloat16")
        result = tune(model, trained, train, batcher, measure, args, half)
        if test:
            with half:
                result = replace(result, test=Answered(test, folder)(model, batcher))
        record.finished(asdict(result)).write(folder)
        print(baseline.method, result.after, result.test)


def check_given(found: Namespace) -> None:
    """Refuse what the loop would pass over, and defaults that are an adapter's.

    Raises:
        InputError: naming the argument.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("WORLD_SIZE: baselines train in one process; start without a launcher")
    plain = make_parser(KINDS).parse_args(
        ["--method", found.method, "--model_name_or_path", ".", "--output_dir", "."]
    )
    for name, default in vars(plain).items():
        value = getattr(found, name)
        same = value == default or not (value or default) or value == ANYWAY.get(name)
        if name not in READ and not same:
            raise InputError(f"{name}: baselines train without it; leave it out")
    if found.eval_strategy not in ("no", "steps"):
        raise InputError("eval_strategy: baselines evaluate by steps, or not; give no or steps")
    if found.method in TRAINED and (found.learning_rate is None or found.max_steps < 1):
        raise InputError(f"learning_rate, max_steps: {found.method} has no defaults; give both")


def check_lora(model_type: str) -> None:
    """Refuse a kind of model for which PEFT knows no place of LoRA.

    Raises:
        InputError: naming it.
    """
    from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as PLACES

    if model_type not in PLACES:
        raise InputError(
            f"method: PEFT does not say where LoRA goes in {model_type}; take another base or "
            "another method"
        )


def prepared(model: Any, baseline: BaselineArguments) -> tuple[Any, list[nn.Parameter]]:
    """The model with what is trained of it, as fp32 masters."""
    model.requires_grad_(False)
    if baseline.method == "lora":
        from peft import LoraConfig, get_peft_model

        rank = baseline.lora_rank
        model = get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank))
    elif baseline.method == "table":
        # a table of its own: a tied head keeps the frozen one
        dtype = model.dtype
        table = nn.Embedding.from_pretrained(
            model.get_input_embeddings().weight.float().clone(), freeze=False
        )
        table.register_forward_hook(lambda module, given, rows: rows.to(dtype))
        model.set_input_embeddings(table)
    elif baseline.method == "full":
        model.requires_grad_(True)
    return model, [p for p in model.parameters() if p.requires_grad]


def tune(
    model: Any,
    trained: list[nn.Parameter],
    train: Sequence[Encoded],
    batcher: Batcher,
    measure: Measure,
    args: AdeptTrainingArguments,
    half: AbstractContextManager[Any],
) -> Result:
    """AdamW with a linear schedule; the validation split every eval_steps.

    Raises:
        InputError: for a loss that is not finite.
    """
    folder = Path(str(args.output_dir))
    steps, rate = args.max_steps if trained else 0, args.learning_rate or 0.0
    share = args.eval_steps or 1
    every = math.ceil(share * steps) if share < 1 else int(share)
    optimizer = torch.optim.AdamW(trained, rate, weight_decay=0.0) if trained else None
    with half:
        before = measure(model, batcher)
    entries = [{"step": 0} | {f"start_{k}": v for k, v in before.items()}]
    losses, tokens, examples, seconds = [], 0, 0, 0.0
    for step, batch in zip(range(1, steps + 1), batches(train, batcher, args), strict=False):
        began = time.perf_counter()
        assert optimizer is not None
        now = rate * share_at(step, steps, args.warmup_steps)
        for group in optimizer.param_groups:
            group["lr"] = now
        model.train()
        with half:
            loss = loss_of(model, batch)
        if not torch.isfinite(loss):
            raise InputError(f"loss: {loss.item()} at step {step}; lower the learning_rate {rate}")
        loss.backward()
        if args.max_grad_norm:
            nn.utils.clip_grad_norm_(trained, args.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        examples, tokens = examples + len(batch["example_ids"]), tokens + batch["num_text_tokens"]
        seconds += time.perf_counter() - began
        entries.append({"step": step, "loss": losses[-1], "learning_rate": now})
        if args.eval_strategy == "steps" and step % every == 0:
            with half:
                found = measure(model, batcher)
            entries.append({"step": step} | {f"eval_{k}": v for k, v in found.items()})
        (folder / LOG_FILE).write_text("".join(json.dumps(one) + "\n" for one in entries))
    with half:
        after = measure.at_end(model, batcher) if trained else before
    count = sum(p.numel() for p in trained)
    mean = sum(losses) / len(losses) if losses else float("nan")
    speed = 1 / seconds if seconds else 0.0
    return Result(
        before, after, mean, count, steps, examples * speed, tokens * speed, seconds,
        round(peak_memory_gb(embedding_device(model)), 3),
    )  # fmt: skip


def share_at(step: int, steps: int, warmup: float) -> float:
    """Share of the rate at a step from 1: up to the end of the warm-up, then down to 0."""
    end = warmup if warmup >= 1 else round(warmup * steps)
    return step / end if step <= end else (steps + 1 - step) / (steps + 1 - end)


def loss_of(model: Any, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy of a micro-batch's targets."""
    device = embedding_device(model)
    inputs = {
        name: value.to(device) if isinstance(value, torch.Tensor) else value
        for name, value in batch["inputs"].items()
    }
    labels = batch["labels"].to(device)
    return summed_loss(model(**inputs, use_cache=False).logits, labels) / (labels >= 0).sum()


def batches(
    train: Sequence[Encoded], batcher: Batcher, args: AdeptTrainingArguments
) -> Iterator[Batch]:
    """Endless, each epoch in another order."""
    generator = torch.Generator().manual_seed(args.seed)
    size = args.per_device_train_batch_size
    while True:
        order = torch.randperm(len(train), generator=generator).tolist()
        for start in range(0, len(order), size):
            yield batcher([train[i] for i in order[start : start + size]])


def computing(bf16: bool) -> AbstractContextManager[Any]:
    """Mixed precision for weights that are fp32 masters."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.autocast(device, torch.bfloat16) if bf16 else nullcontext()


if __name__ == "__main__":
    quiet()
    sys.exit(told(lambda: main(sys.argv[1:])))
