"""One tuning run, from an injected model and encoded examples to measured numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    ProgressCallback,
    TrainerCallback,
    set_seed,
)

from adept_llm.adapters import get_adapter
from adept_llm.data import Encoded
from adept_llm.errors import InputError
from adept_llm.packing import (
    PaddedCollator,
    SharedPrefixCollator,
    use_packed_attention,
    why_not_packed,
)
from adept_llm.training.arguments import AdeptTrainingArguments
from adept_llm.training.launch import leave_together
from adept_llm.training.log_file import LogFile
from adept_llm.training.progress import AdeptProgress
from adept_llm.training.signals import STOPPED, StopOnSignal
from adept_llm.training.trainer import AdeptTrainer, Evaluate


@dataclass(frozen=True)
class Result:
    """Numbers of a finished run."""

    before: dict[str, float]
    after: dict[str, float]
    loss: float
    """Mean over the training steps."""
    trained_parameters: int
    steps: int
    examples_per_second: float
    tokens_per_second: float
    """Tokens of the texts; virtual tokens and padding are not counted."""
    seconds: float
    """Spent on training steps, evaluation and saving left out."""


class MeasureAtStart(TrainerCallback):
    """Measures a run's model before its first step; a resumed run finds the numbers in the log.

    Not before training: sharded weights can be used from then on only.
    """

    def __init__(self, trainer: AdeptTrainer) -> None:
        self.trainer = trainer
        self.metrics: dict[str, float] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure, or look up.

        Raises:
            InputError: for a metric_for_best_model that is not measured.
        """
        prefix = "start_"
        if state.global_step == 0 and self.trainer.measure:
            with torch.no_grad():
                found = self.trainer.measure(self.trainer.model.eval())
            self.trainer.log({prefix + name: value for name, value in found.items()})
        for entry in state.log_history:
            names = [name for name in entry if name.startswith(prefix)]
            self.metrics.update({name.removeprefix(prefix): entry[name] for name in names})
        best = args.metric_for_best_model
        if best and best.removeprefix("eval_") not in self.metrics:
            known = ", ".join(self.metrics) or "none without a labelled validation split"
            raise InputError(f"metric_for_best_model: '{best}' is unknown; known: {known}")


def leave_stopped(trainer: AdeptTrainer, name: str) -> NoReturn:
    """End a run that a signal stopped, after its checkpoint."""
    if trainer.is_world_process_zero():
        print(
            f"stopped by {name} behind the checkpoint of step {trainer.state.global_step}; "
            "go on with --resume_from_checkpoint auto",
            flush=True,
        )
    leave_together()
    raise SystemExit(STOPPED)


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
    stop = StopOnSignal()
    stop.install()
    trainer = AdeptTrainer(model, args, list(train), collator, measure, callbacks=[stop, LogFile()])
    start = MeasureAtStart(trainer)
    trainer.add_callback(start)
    progress = AdeptProgress()
    trainer.remove_callback(PrinterCallback if args.disable_tqdm else ProgressCallback)
    if not args.disable_tqdm:
        trainer.add_callback(progress)
    if args.early_stopping_patience:
        trainer.add_callback(EarlyStoppingCallback(args.early_stopping_patience))
    try:
        loss = trainer.train(resume_from_checkpoint=args.resume_from_checkpoint).training_loss
    finally:
        stop.uninstall()
        progress.close()
    if stop.stopped:
        leave_stopped(trainer, stop.stopped)
    after = measure(trainer.model) if measure else {}
    speed, seconds = trainer.speed, trainer.speed.seconds or float("inf")
    trained = get_adapter(model).trained_parameters().values()
    return trainer, Result(
        before=start.metrics,
        after=after,
        loss=loss,
        trained_parameters=sum(p.numel() for p in trained),
        steps=trainer.state.global_step,
        examples_per_second=speed.examples * args.world_size / seconds,
        tokens_per_second=speed.tokens * args.world_size / seconds,
        seconds=speed.seconds,
    )
