"""One tuning run, from an injected model and encoded examples to measured numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import EarlyStoppingCallback, PrinterCallback, ProgressCallback, set_seed

from adept_llm.adapters import get_adapter
from adept_llm.errors import InputError
from adept_llm.packing import (
    PaddedCollator,
    SharedPrefixCollator,
    use_packed_attention,
    why_not_packed,
)
from adept_llm.tasks import Encoded
from adept_llm.training.arguments import AdeptTrainingArguments
from adept_llm.training.progress import AdeptProgress
from adept_llm.training.trainer import AdeptTrainer, Evaluate


@dataclass(frozen=True)
class Result:
    """Numbers of a finished run."""

    before: dict[str, float]
    after: dict[str, float]
    trained_parameters: int
    steps: int
    examples_per_second: float
    tokens_per_second: float
    """Tokens of the texts; virtual tokens and padding are not counted."""
    seconds: float
    """Spent on training steps, evaluation and saving left out."""


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
) -> tuple[AdeptTrainer, Result]:
    """Measure, train, measure; the model is left with the best or last adapter.

    Args:
        model: an injected model.
        args: training arguments.
        train: examples to train on.
        collator: from `make_collator`.
        measure: a function from the model to metrics, such as `evaluation.measure.Measure`.
    """
    set_seed(args.seed)
    trainer = AdeptTrainer(model, args, list(train), collator, measure)
    progress = AdeptProgress()
    trainer.remove_callback(PrinterCallback if args.disable_tqdm else ProgressCallback)
    if not args.disable_tqdm:
        trainer.add_callback(progress)
    if args.early_stopping_patience:
        trainer.add_callback(EarlyStoppingCallback(args.early_stopping_patience))
    before = measure(trainer.model) if measure else {}
    best = args.metric_for_best_model
    if best and best.removeprefix("eval_") not in before:
        known = ", ".join(before) or "none without a labelled validation split"
        raise InputError(f"metric_for_best_model: '{best}' is unknown; known: {known}")
    try:
        trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    finally:
        progress.close()
    after = measure(trainer.model) if measure else {}
    speed, seconds = trainer.speed, trainer.speed.seconds or float("inf")
    trained = get_adapter(model).trained_parameters().values()
    return trainer, Result(
        before=before,
        after=after,
        trained_parameters=sum(p.numel() for p in trained),
        steps=trainer.state.global_step,
        examples_per_second=speed.examples * args.world_size / seconds,
        tokens_per_second=speed.tokens * args.world_size / seconds,
        seconds=speed.seconds,
    )
