"""A thin Trainer: two learning rates, a token-weighted loss, checkpoints of trained values only."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from adept_llm.adapters import parameter_groups, trained_parts
from adept_llm.errors import InputError
from adept_llm.evaluation.measure import Measure, Numbers
from adept_llm.packing import IGNORED, Batch, Batcher, token_losses
from adept_llm.packing.compiled import compile_layers, not_compiled
from adept_llm.record import RunRecord
from adept_llm.training.arguments import AdeptTrainingArguments
from adept_llm.training.checkpoints.resumable import ResumableTrainer
from adept_llm.training.peak_memory import peak_memory_gb
from adept_llm.training.progress import Speed
from adept_llm.training.signals import StopOnSignal, Stopped

LossOf = Callable[[Any, Batch], Tensor]
"""(model, micro-batch) -> the sum of the targets' cross-entropies."""


def loss_alone(model: Any, batch: Batch) -> Tensor:
    """By a pass of the model's own."""
    return token_losses(model, batch["inputs"], batch["labels"]).sum()


class AdeptTrainer(ResumableTrainer):
    """Trainer for an injected model.

    Args:
        model: an injected model.
        args: arguments.
        train_dataset: encoded examples.
        batcher: the model's, from `make_batcher`.
        measure: called where Trainer would evaluate; its main metric finds the best checkpoint.
        record: of the run so far, laid into its checkpoints.
        stop: what a signal is told to; None where signals are not looked at.
        loss_of: gives a micro-batch's loss; runs that train at once have it by a common pass.
    """

    args: AdeptTrainingArguments
    model: Any

    def __init__(
        self,
        model: Any,
        args: AdeptTrainingArguments,
        train_dataset: Any,
        batcher: Batcher,
        measure: Measure | None = None,
        record: RunRecord | None = None,
        stop: StopOnSignal | None = None,
        loss_of: LossOf = loss_alone,
        **kwargs: Any,
    ) -> None:
        # "loss" is Trainer's own default
        if measure and args.metric_for_best_model == "loss":
            args.metric_for_best_model = measure.main_metric
            args.greater_is_better = measure.greater_is_better
        # Trainer asks for a data set where an evaluation strategy is set; ours is in the function
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=[] if measure else None,
            data_collator=cast(Any, batcher),
            **kwargs,
        )
        self.batcher = batcher
        self.measure = measure
        self.record = record
        self.stop = stop
        self.loss_of = loss_of
        self.speed = Speed()
        self._used_rates: dict[str, float] = {}
        self.add_callback(self.speed)
        if args.torch_compile:
            compile_layers(model, args.torch_compile_backend or "inductor", args.torch_compile_mode)

    def create_accelerator_and_postprocess(self) -> None:
        """Without a compiler: accelerate would compile the whole model, and anew for each row.

        It is told by `torch_compile_backend` alone; the layers are compiled by us.
        """
        backend, self.args.torch_compile_backend = self.args.torch_compile_backend, None
        try:
            super().create_accelerator_and_postprocess()
        finally:
            self.args.torch_compile_backend = backend

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW (or what --optim names) over two groups: the prompt, and the offset."""
        if self.optimizer is None:
            args = self.args
            groups = parameter_groups(self.model, args.learning_rate, args.offset_learning_rate)
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            self.optimizer = kind(groups, weight_decay=self.args.weight_decay, **options)
        return self.optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> Any:
        """What --lr_scheduler_type names, with a warm-up that ends at its last step.

        Stock schedules begin at a rate of 0: step 1 would be for nothing, and so would all of a run
        of one step. They are taken one step later, and end as much later.

        Raises:
            InputError: for a warm-up that is longer than the run.
        """
        self.args.check_warmup(num_training_steps)
        if self.lr_scheduler is not None or not self.args.warmup_steps:
            return super().create_scheduler(num_training_steps, optimizer)
        schedule = super().create_scheduler(num_training_steps + 1, optimizer)
        if isinstance(schedule, LambdaLR):
            begin_a_step_later(schedule)
        return schedule

    def learning_rates(self) -> dict[str, float]:
        """The current rate of each group, by its argument's name."""
        names = {"prompt": "learning_rate", "offset": "offset_learning_rate"}
        assert self.optimizer is not None
        both = zip(trained_parts(self.model), self.optimizer.param_groups, strict=True)
        return {names[part]: float(group["lr"]) for part, group in both}

    def training_step(
        self, model: Any, inputs: Any, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Forward and backward of a `Share`, piece by piece; gradients meet behind the last one."""
        *first, last = inputs["pieces"]
        losses = []
        for piece in first:
            with self.more_to_come(model):
                losses.append(super().training_step(model, piece, num_items_in_batch))
        losses.append(super().training_step(model, last, num_items_in_batch))
        return torch.stack(losses).sum()

    def compute_loss(
        self,
        model: Any,
        inputs: Batch,  # type: ignore[override]
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Sum of the targets' cross-entropies over the target tokens of the global batch.

        Raises:
            InputError: for a loss that is not finite, with step, examples and rates.
        """
        labels, example_ids = inputs["labels"], inputs["example_ids"]
        self._used_rates = self.learning_rates()
        self.speed.count(len(example_ids), inputs["num_text_tokens"])
        total = self.loss_of(model, inputs)
        if not torch.isfinite(total):
            rates = ", ".join(f"{k} {v:.3g}" for k, v in self._used_rates.items())
            raise InputError(
                f"loss: {total.item()} at step {self.state.global_step + 1} ({rates}) on examples "
                f"{', '.join(example_ids[:4])}..; lower the rates or use --dtype bfloat16"
            )
        if num_items_in_batch is None:
            num_items_in_batch = (labels != IGNORED).sum()
        # data-parallel ranks average their gradients, the sum over ranks is wanted
        loss = total / num_items_in_batch * self.accelerator.num_processes
        return (loss, {}) if return_outputs else loss

    def on_better(self) -> None:
        """Save, or the best might lie between two checkpoints."""
        if self.args.load_best_model_at_end:
            self.control.should_save = True

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add both learning rates, the speed and the memory to the training log."""
        if "train_runtime" in logs and not self.speed.examples:
            return  # nothing was trained: the summary of the run stands in its log already
        if "loss" in logs:
            logs.pop("learning_rate", None)  # Trainer's is that of the first group, whichever it is
            logs.update(self._used_rates)
            tokens, examples = self.speed.since_asked()
            ranks = self.accelerator.num_processes
            logs["tokens_per_second"] = round(tokens * ranks, 1)
            logs["examples_per_second"] = round(examples * ranks, 2)
            logs["peak_memory_gb"] = round(peak_memory_gb(self.args.device), 3)
        super().log(logs, start_time)

    def measured(self, measure: Numbers | None) -> dict[str, float]:
        """Numbers of the model as it is; none where nothing is measured.

        Raises:
            Stopped: where a signal breaks it off, on all ranks.
        """
        if not measure:
            return {}
        stopping = self.stop.evaluating(self.model) if self.stop else nullcontext()
        with stopping, not_compiled() if self.args.torch_compile else nullcontext():
            return measure(self.model, self.batcher)

    def measured_in_the_end(self, measure: Numbers | None) -> dict[str, float]:
        """Those of the trained model; broken off, it leaves a checkpoint to go on from.

        Raises:
            Stopped: where a signal breaks it off, on all ranks.
        """
        try:
            return self.measured(measure)
        except Stopped as signal:
            # the best values do not go with the last optimizer state; the last were saved before
            if not self.args.load_best_model_at_end:
                self._save_stopped(signal)
            raise

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Metrics of `measure`, logged under eval_*.

        Raises:
            Stopped: where a signal breaks it off, behind a checkpoint; made up for on resuming.
        """
        try:
            measured = self.measured(self.measure)
        except Stopped as signal:
            self._save_stopped(signal)
            raise
        metrics = {f"eval_{name}": value for name, value in measured.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def _save_stopped(self, signal: Stopped) -> None:
        assert self.stop is not None
        self.stop.stopped = signal.name
        self.save_checkpoint()


def begin_a_step_later(schedule: LambdaLR) -> None:
    """Let each step take the rate of the next; of a schedule that has just been made."""

    def later(factor: Any) -> Any:
        return lambda step: factor(step + 1)

    schedule.lr_lambdas = [later(factor) for factor in schedule.lr_lambdas]
    pairs = zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)
    for group, (rate, factor) in zip(schedule.optimizer.param_groups, pairs, strict=True):
        group["lr"] = rate * factor(0)
