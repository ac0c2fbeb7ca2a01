"""A thin Trainer: two learning rates, a token-weighted loss, checkpoints of trained values only."""

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from adept_llm.adapters import get_adapter
from adept_llm.errors import InputError
from adept_llm.packing.collator import IGNORED
from adept_llm.training.arguments import AdeptTrainingArguments
from adept_llm.training.checkpoints.resumable import ResumableTrainer
from adept_llm.training.progress import Speed


class Evaluate(Protocol):
    """Measures a model on a split."""

    @property
    def main_metric(self) -> str:
        """The metric by which the best checkpoint is chosen."""

    @property
    def greater_is_better(self) -> bool:
        """Whether more of it is better."""

    def __call__(self, model: Any) -> dict[str, float]:
        """Metrics by name."""


class AdeptTrainer(ResumableTrainer):
    """Trainer for an injected model.

    Args:
        model: an injected model.
        args: arguments.
        train_dataset: list of encoded examples.
        data_collator: `SharedPrefixCollator` or `PaddedCollator`.
        measure: called where Trainer would evaluate; its main metric finds the best checkpoint.
    """

    args: AdeptTrainingArguments
    model: Any

    def __init__(
        self,
        model: Any,
        args: AdeptTrainingArguments,
        train_dataset: Any,
        data_collator: Any,
        measure: Evaluate | None = None,
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
            data_collator=data_collator,
            **kwargs,
        )
        self.measure = measure
        self.speed = Speed()
        self._used_rates: dict[str, float] = {}
        self.add_callback(self.speed)
        # the loss below is already divided by the target tokens of the global batch, and the
        # collators' labels are already aligned with the logits
        self.model_accepts_loss_kwargs = True
        self._loss_shifts_labels = False

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW (or what --optim names) over two groups: the prompt, and the offset."""
        if self.optimizer is None:
            rates = (self.args.learning_rate, self.args.offset_learning_rate)
            groups = [
                {"params": parameters, "lr": rate}
                for parameters, rate in zip(self._parts(), rates, strict=True)
                if parameters
            ]
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            self.optimizer = kind(groups, weight_decay=self.args.weight_decay, **options)
        return self.optimizer

    def learning_rates(self) -> dict[str, float]:
        """The current rate of each group, by its argument's name."""
        both = zip(("learning_rate", "offset_learning_rate"), self._parts(), strict=True)
        names = [name for name, part in both if part]
        assert self.optimizer is not None
        groups = self.optimizer.param_groups
        return {name: float(group["lr"]) for name, group in zip(names, groups, strict=True)}

    def _parts(self) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
        """What is trained of the prompt, and of the offset; either may be empty."""
        adapter = get_adapter(self.model)
        prompt, offset = adapter.prompt_parameters(), adapter.offset_parameters()
        return [p for p in prompt.values() if p.requires_grad], list(offset.values())

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Sum of the targets' cross-entropies over the target tokens of the global batch.

        Raises:
            InputError: for a loss that is not finite, with step, examples and rates.
        """
        inputs = dict(inputs)
        labels, example_ids = inputs.pop("labels"), inputs.pop("example_ids")
        self._used_rates = self.learning_rates()
        self.speed.count(len(example_ids), inputs.pop("num_text_tokens"))
        outputs = model(**inputs, use_cache=False)
        logits = outputs.logits.flatten(0, -2).float()  # [N, V]
        total = F.cross_entropy(logits, labels.flatten(), ignore_index=IGNORED, reduction="sum")
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
        return (loss, outputs) if return_outputs else loss

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        improved = super()._determine_best_metric(metrics, trial)
        if improved and self.args.load_best_model_at_end:
            self.control.should_save = True  # or the best might lie between two checkpoints
        return improved

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add both learning rates and the speed to the training log."""
        if "loss" in logs:
            logs.pop("learning_rate", None)  # Trainer's is that of the first group, whichever it is
            logs.update(self._used_rates)
            speed = self.speed.tokens_per_second() * self.accelerator.num_processes
            logs["tokens_per_second"] = round(speed, 1)
        super().log(logs, start_time)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Metrics of `measure`, logged under eval_*."""
        assert self.measure is not None
        metrics = self.measure(self.model)
        metrics = {f"eval_{name}": value for name, value in metrics.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics
