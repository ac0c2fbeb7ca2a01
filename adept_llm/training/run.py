"""One tuning run, from an injected model and encoded examples to measured numbers."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    ProgressCallback,
    TrainerCallback,
    set_seed,
)

from adept_llm.adapters import get_adapter
from adept_llm.card import CARD_FILE, adapter_card
from adept_llm.data import Encoded
from adept_llm.evaluation.measure import Measure, Numbers, check_best
from adept_llm.files import write_files
from adept_llm.packing import Batcher
from adept_llm.record import RunRecord
from adept_llm.training.arguments import AdeptTrainingArguments
from adept_llm.training.log_file import LOG_FILE, LogFile, read_losses
from adept_llm.training.peak_memory import peak_memory_gb, start_counting
from adept_llm.training.progress import make_progress
from adept_llm.training.signals import StopOnSignal, Stopped
from adept_llm.training.trainer import AdeptTrainer, LossOf, loss_alone

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Result:
    """Numbers of a run."""

    before: dict[str, float]
    after: dict[str, float]
    loss: float
    """Mean over the training steps; of a resumed run, over the lines of its log."""
    trained_parameters: int
    steps: int
    examples_per_second: float
    """Of the last start of the run."""
    tokens_per_second: float
    """Likewise, of the texts; virtual tokens and padding are not counted."""
    seconds: float
    """Spent on training steps by all starts, evaluation and saving left out; steps that a kill lost
    are not counted."""
    peak_memory_gb: float
    """Of this rank, evaluation included; see `peak_memory`."""
    stopped: str | None = None
    """Name of the signal that ended the run behind a checkpoint, and left it to be resumed."""
    test: dict[str, float] = field(default_factory=dict)
    """Of the trained model on the test split, where that was asked for."""
    last_loss: float | None = None
    """The last that was logged: mean over the steps since the one before."""


class MeasureAtStart(TrainerCallback):
    """Measures a run's model before its first step; a resumed run finds the numbers in the log.

    Not before training: sharded weights can be used from then on only.
    """

    def __init__(self, trainer: AdeptTrainer) -> None:
        self.trainer = trainer
        self.metrics: dict[str, float] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure, or look up; a run that began without a validation split has nothing there.

        Raises:
            Stopped: where a signal breaks it off.
        """
        prefix = "start_"
        if state.global_step == 0 and self.trainer.measure:
            with torch.no_grad():
                found = self.trainer.measured(self.trainer.measure)
            self.trainer.log({prefix + name: value for name, value in found.items()})
        for entry in state.log_history:
            names = [name for name in entry if name.startswith(prefix)]
            self.metrics.update({name.removeprefix(prefix): entry[name] for name in names})
        if control.should_evaluate and self.trainer.resumed_from and self.trainer.measure:
            self.trainer.catch_up()


def run(
    model: "PreTrainedModel",
    args: AdeptTrainingArguments,
    train: Sequence[Encoded],
    batcher: Batcher,
    measure: Measure | None = None,
    record: RunRecord | None = None,
    stop: StopOnSignal | None = None,
    test: Numbers | None = None,
    loss_of: LossOf = loss_alone,
) -> tuple[AdeptTrainer, Result]:
    """Measure, train, save, measure; the model is left with the best or last adapter.

    Args:
        model: an injected model.
        args: training arguments.
        train: examples to train on.
        batcher: the model's, from `make_batcher`.
        measure: what is measured before and after training, and where the arguments say so.
        record: of the run so far, laid into its checkpoints; in the end the adapter's model card is
            made of it.
        stop: with the signals in its hands; by default they are taken over here.
        test: what is measured once, of the trained model.
        loss_of: as in `AdeptTrainer`.

    Returns:
        The trainer, and the numbers; `stopped` tells whether the run has come to its end. The
        adapter lies in `output_dir` then; whether it is to be called finished is the caller's.

    Raises:
        InputError: for a metric_for_best_model that is not measured.
        Stopped: by a signal before the first step.
    """
    check_best(args.metric_for_best_model, measure)
    set_seed(args.seed)
    own = stop is None
    stop = stop or StopOnSignal()
    if own:
        stop.install()
    callbacks = [stop, LogFile()]
    trainer = AdeptTrainer(
        model, args, train, batcher, measure, record, stop, loss_of, callbacks=callbacks
    )
    start_counting(args.device)
    start = MeasureAtStart(trainer)
    trainer.add_callback(start)
    progress = make_progress(args.disable_tqdm)
    trainer.remove_callback(PrinterCallback if args.disable_tqdm else ProgressCallback)
    trainer.add_callback(progress)
    if args.early_stopping_patience:
        trainer.add_callback(EarlyStoppingCallback(args.early_stopping_patience))
    loss, after, tested = float("nan"), {}, {}
    try:
        loss = trainer.train(resume_from_checkpoint=args.resume_from_checkpoint).training_loss
        progress.close()
        if not stop.stopped:
            # first, since what follows may take long
            trainer.save_model()
            after = trainer.measured_in_the_end(measure.at_end if measure else None)
            tested = trainer.measured_in_the_end(test)
    except Stopped as signal:
        if not trainer.state.global_step:
            raise
        stop.stopped = signal.name
    finally:
        stop.release()
        if own:
            stop.uninstall()
        progress.close()
    speed, seconds = trainer.speed, trainer.speed.seconds or float("inf")
    if trainer.resumed_from:  # Trainer's is that of the last start
        since = loss if speed.examples else float("nan")
        loss = _logged_loss(args, trainer.state.global_step, since)
    trained = get_adapter(model).trained_parameters().values()
    result = Result(
        before=start.metrics,
        after=after,
        loss=loss,
        trained_parameters=sum(p.numel() for p in trained),
        steps=trainer.state.global_step,
        examples_per_second=speed.examples * args.world_size / seconds,
        tokens_per_second=speed.tokens * args.world_size / seconds,
        seconds=speed.earlier_seconds + speed.seconds,
        peak_memory_gb=round(peak_memory_gb(args.device), 3),
        stopped=stop.stopped,
        test=tested,
        last_loss=next((e["loss"] for e in trainer.state.log_history[::-1] if "loss" in e), None),
    )
    if record and args.should_save and not stop.stopped:
        _write_card(Path(str(args.output_dir)), record.finished(asdict(result)))
    return trainer, result


def _write_card(folder: Path, record: RunRecord) -> None:
    base = record.base
    card = adapter_card(base.name_or_path, base.revision, record.adapter, record)
    write_files(folder, {CARD_FILE: card.encode()})


def _logged_loss(args: AdeptTrainingArguments, steps: int, otherwise: float) -> float:
    """The mean of a log, which knows all starts of a run; of no lines beyond its steps."""
    folder = Path(str(args.output_dir))
    logged = read_losses(folder) if (folder / LOG_FILE).exists() else {}
    losses = [loss for step, loss in logged.items() if step <= steps]
    return sum(losses) / len(losses) if losses else otherwise
