"""Progress bar with loss, tokens per second and both learning rates."""

import time
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ProgressCallback


class AdeptProgress(ProgressCallback):
    """Trainer's bar; the last log line stands behind it instead of being printed above it."""

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Put the numbers behind the bar."""
        if self.training_bar is None or not logs:
            return
        shown = {"loss": "loss", "learning_rate": "lr", "offset_learning_rate": "offset_lr"}
        numbers = {short: f"{logs[name]:.3g}" for name, short in shown.items() if name in logs}
        if "tokens_per_second" in logs:
            numbers["tokens/s"] = f"{logs['tokens_per_second']:.0f}"
        if numbers:
            self.training_bar.set_postfix(numbers)


class Speed(TrainerCallback):
    """Counts examples, tokens and seconds of training, evaluation and saving left out."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.steps = 0
        self._start = 0.0

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self._start = time.perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Stop the clock."""
        self.seconds += time.perf_counter() - self._start
        self.steps += 1
