"""transformers' Trainer, whose private hooks call methods with names of their own.

Read in transformers 5.17.0 and 5.23.0 (trainer.py), accelerate 1.15.0 (optimizer.py).
"""

import dataclasses
import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from transformers import EarlyStoppingCallback, Trainer, TrainerCallback
from transformers.trainer_callback import ExportableState

from adept_llm.compat import deepspeed

LOG = logging.getLogger(__name__)


class LastingCallback(TrainerCallback, ExportableState):
    """A callback whose `state` lies in checkpoints; its attributes are given back on resuming.

    Stock Trainer tells such callbacks by the class ExportableState. If that changes, they begin
    afresh with each start of a run.
    """


class HookedTrainer(Trainer):
    """A Trainer that leaves checkpoints, and what follows from a better metric, to its subclass.

    Stock Trainer writes all frozen weights, reads them back strictly, and lets DeepSpeed write its
    partitions by rank. A subclass gives the first six methods below; the hooks are private in stock
    Trainer, so a new version may rename them. It would then write stock checkpoints and read none
    of ours, without a word: hence tests/compat/test_trainer.py.

    Its loss must be divided by the target tokens of the global batch already, and its labels be
    aligned with the logits.
    """

    model: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Set by Trainer.__init__ from the model's class. If false, Trainer divides our loss by the
        # accumulation steps once more, and counts no target tokens.
        self.model_accepts_loss_kwargs = True
        # Likewise. If true, Trainer takes the first label of each row for none and
        # counts too few target tokens.
        self._loss_shifts_labels = False

    def restore(self, folder: Path) -> None:
        """Give back what `save_checkpoint` took; model, optimizer and scheduler are ready."""
        raise NotImplementedError

    def restore_random_state(self, folder: Path) -> None:
        """Give back the random number generators, after the data were wound to their place."""
        raise NotImplementedError

    def load_best(self, folder: Path) -> None:
        """Take the trained values of the best checkpoint, after training."""
        raise NotImplementedError

    def save_checkpoint(self) -> None:
        """Write the checkpoint of the present step; all ranks call."""
        raise NotImplementedError

    def on_better(self) -> None:
        """Act on a new best metric, before Trainer asks whether to save."""
        raise NotImplementedError

    def is_complete(self) -> bool:
        """Whether training has come to its end: by its steps, or by early stopping."""
        return self.is_stopped_early() or self.state.global_step >= self.state.max_steps

    def is_stopped_early(self) -> bool:
        """Whether early stopping has run out of patience."""
        return any(
            callback.early_stopping_patience_counter >= callback.early_stopping_patience
            for callback in self.callback_handler.callbacks
            if isinstance(callback, EarlyStoppingCallback)
        )

    def evaluate_at_last(self) -> None:
        """Make up for an evaluation that was due at this step, and which a signal broke off."""
        metrics = self._evaluate(None, None)
        self._determine_best_metric(metrics, None)

    @property
    def engine(self) -> Any:
        """The DeepSpeed engine, or None."""
        return self.model_wrapped if self.is_deepspeed_enabled else None

    @property
    def micro_batch_size(self) -> int:
        """Examples of one rank's batch.

        Trainer keeps it apart from the arguments, since `auto_find_batch_size` changes it (refused
        here); if it is renamed, sampling fails at once.
        """
        return self._train_batch_size

    @property
    def inner_optimizer(self) -> Any:
        """The optimizer under accelerate's wrapper, and under DeepSpeed's.

        AcceleratedOptimizer holds it as `optimizer`; if that changes, the states of checkpoints are
        looked up by parameters that the wrapper does not know, and are empty.
        """
        if self.engine is not None:
            return deepspeed.inner_optimizer(self.engine)
        return getattr(self.optimizer, "optimizer", self.optimizer)

    @property
    def loss_scaler(self) -> Any:
        """The GradScaler of float16 training, or None.

        Accelerator holds it as `scaler`; if that changes, a resumed float16 run starts with a fresh
        scale and skips steps.
        """
        return getattr(self.accelerator, "scaler", None)

    @contextmanager
    def more_to_come(self, model: Any) -> Iterator[None]:
        """Gradients are added up meanwhile: neither does DeepSpeed step, nor do ranks meet.

        Accelerator steps DeepSpeed's engine behind a backward pass where the gradient state's
        `sync_gradients` is true, which Trainer sets by `_set_sync_gradients` before each
        micro-batch. If the name changes, this fails at once; if the engine no longer looks at it,
        each piece is a step of its own.
        """
        state = self.accelerator.gradient_state
        before = state.sync_gradients
        state._set_sync_gradients(False)
        alone = nullcontext() if self.is_deepspeed_enabled else self.accelerator.no_sync(model)
        try:
            with alone:
                yield
        finally:
            state._set_sync_gradients(before)

    def progress(self) -> dict[str, Any]:
        """Trainer's own state with that of its callbacks, as `trainer_state.json` holds it.

        Early stopping keeps its count as an ExportableState, and so does Trainer what is due at
        this step; `_load_callback_state` reads both back. If that changes, it counts afresh.
        """
        states: Any = self.state.stateful_callbacks
        for callback in [*self.callback_handler.callbacks, self.control]:
            if isinstance(callback, ExportableState):
                states[type(callback).__name__] = callback.state()
        return dataclasses.asdict(self.state)

    # The hooks: called by stock Trainer alone.

    def _init_training_state(
        self,
        max_steps: int,
        num_update_steps_per_epoch: int,
        num_train_epochs: int,
        resume_from_checkpoint: str | None,
        trial: Any,
    ) -> tuple[int, int]:
        place = super()._init_training_state(
            max_steps, num_update_steps_per_epoch, num_train_epochs, resume_from_checkpoint, trial
        )
        # those of the checkpoint would silently hold, whatever the arguments say now
        self.state.compute_steps(self.args, max_steps)
        if resume_from_checkpoint:  # whose folder may have been moved
            beside = Path(resume_from_checkpoint).parent
            best = beside / f"checkpoint-{self.state.best_global_step}"
            if best.is_dir():
                self.state.best_model_checkpoint = str(best)
        return place

    def _load_callback_state(self) -> None:
        """Counts, but not settings, which the arguments give; stock Trainer takes all or none."""
        saved: Any = self.state.stateful_callbacks or {}
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, ExportableState):
                state = saved.get(type(callback).__name__, {})
                for name, value in state.get("attributes", {}).items():
                    setattr(callback, name, value)
        flags = saved.get(type(self.control).__name__, {}).get("args", {})
        self.control.should_evaluate = flags.get("should_evaluate", False)

    def _run_epoch(
        self,
        model: Any,
        epoch: int,
        train_dataloader: Any,
        steps_in_epoch: int,
        num_update_steps_per_epoch: int,
        trial: Any,
        ignore_keys_for_eval: Any,
        start_time: float,
        resume_from_checkpoint: str | None,
        epochs_trained: int,
        steps_trained_in_current_epoch: int,
    ) -> None:
        if self.is_complete():  # stock Trainer would ask behind one more step
            if self.is_stopped_early():
                LOG.info(
                    "resume: it was ended by early stopping; raise --early_stopping_patience to "
                    "train on"
                )
            self.control.should_training_stop = True
            return
        super()._run_epoch(
            model,
            epoch,
            train_dataloader,
            steps_in_epoch,
            num_update_steps_per_epoch,
            trial,
            ignore_keys_for_eval,
            start_time,
            resume_from_checkpoint,
            epochs_trained,
            steps_trained_in_current_epoch,
        )

    def _finalize_training(self, trial: Any, num_train_samples: int, start_time: float) -> Any:
        # with a limit of 1 the last checkpoint would be deleted, and what follows be lost with it
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            return super()._finalize_training(trial, num_train_samples, start_time)
        finally:
            self.args.save_total_limit = limit

    def _prepare_for_training(
        self, max_steps: int, train_dataloader: Any, resume_from_checkpoint: str | None
    ) -> Any:
        # with None, for DeepSpeed would look for its own checkpoint, which is not written
        prepared = super()._prepare_for_training(max_steps, train_dataloader, None)
        if resume_from_checkpoint:
            self.restore(Path(resume_from_checkpoint))
        return prepared

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Nothing: there is no optimizer yet; `_prepare_for_training` restores all."""

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            self.restore_random_state(Path(checkpoint))

    def _load_best_model(self) -> None:
        assert self.state.best_model_checkpoint is not None
        self.load_best(Path(self.state.best_model_checkpoint))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.save_checkpoint()

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        improved = super()._determine_best_metric(metrics, trial)
        if improved:
            self.on_better()
        return improved
