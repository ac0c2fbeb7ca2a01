"""One tuning run, from an injected model and encoded examples to measured numbers."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import ProgressCallback, set_seed

from adept_llm.adapters import get_adapter
from adept_llm.packing import (
    PaddedCollator,
    SharedPrefixCollator,
    use_packed_attention,
    why_not_packed,
)
from adept_llm.tasks import Encoded
from adept_llm.training.arguments import AdeptTrainingArguments
from adept_llm.training.progress import AdeptProgress, Speed
from adept_llm.training.trainer import AdeptTrainer, Evaluate


@dataclass(frozen=True)
class Result:
    """Numbers of a finished run."""

    before: dict[str, float]
    after: dict[str, float]
    trained_parameters: int
    steps: int
    examples_per_second: float
    seconds: float


def make_collator(model: Any, packing: str, max_length: int) -> tuple[Any, str | None]:
    """The collator for a model, and why packing fell back to padding, if it did."""
    adapter = get_adapter(model)
    reason = None
    if packing == "shared_prefix":
        longest = adapter.config.num_virtual_tokens + max_length
        reason = why_not_packed(model.config, longest)
        if reason is None:
            use_packed_attention(model)
            return SharedPrefixCollator(adapter.virtual_token_ids), None
    return PaddedCollator(adapter.virtual_token_ids, 0), reason


def run(
    model: Any,
    args: AdeptTrainingArguments,
    train: Sequence[Encoded],
    collator: Any,
    measure: Evaluate | None = None,
    callbacks: Sequence[Any] = (),
) -> tuple[AdeptTrainer, Result]:
    """Measure, train, measure; the model is left with the best or last adapter.

    Args:
        model: an injected model.
        args: training arguments.
        train: examples to train on.
        collator: from `make_collator`.
        measure: a function from the model to metrics, such as `evaluation.measure.Measure`.
        callbacks: more Trainer callbacks.
    """
    set_seed(args.seed)
    speed = Speed()
    trainer = AdeptTrainer(
        model, args, list(train), collator, measure, callbacks=[speed, *callbacks]
    )
    if not args.disable_tqdm:
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(AdeptProgress)
    before = measure(trainer.model) if measure else {}
    start = time.perf_counter()
    trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    seconds = time.perf_counter() - start
    after = measure(trainer.model) if measure else {}
    batch = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    trained = get_adapter(model).trained_parameters().values()
    return trainer, Result(
        before,
        after,
        sum(p.numel() for p in trained),
        speed.steps,
        batch * speed.steps / speed.seconds if speed.seconds else 0.0,
        seconds,
    )
