"""Speed of training, and a progress bar with loss, tokens per second and both learning rates."""

import time
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ProgressCallback


class Speed(TrainerCallback):
    """Counts tokens, examples and seconds of training; evaluation and saving are left out.

    Tokens are those of the texts: virtual tokens and padding are not counted, so that packed and
    padded runs compare. The counts are those of this rank.
    """

    def __init__(self) -> None:
        self.tokens = self.examples = 0
        self.seconds = 0.0
        self._since = 0.0
        self._logged = (0, 0.0)

    def count(self, examples: int, tokens: int) -> None:
        """One micro-batch."""
        self.examples += examples
        self.tokens += tokens

    def tokens_per_second(self) -> float:
        """Speed since this was asked last."""
        tokens, seconds = self._logged
        self._logged = (self.tokens, self.seconds)
        elapsed = self.seconds - seconds
        return (self.tokens - tokens) / elapsed if elapsed else 0.0

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Count a step's time, the loading of its data included."""
        now = time.perf_counter()
        self.seconds += now - self._since
        self._since = now

    def _restart(self, *args: Any, **kwargs: Any) -> None:
        self._since = time.perf_counter()

    on_train_begin = on_evaluate = on_save = _restart


class AdeptProgress(ProgressCallback):
    """Trainer's bar; the last log line stands behind it instead of being printed above it."""

    SHOWN = {
        "loss": "loss",
        "learning_rate": "lr",
        "offset_learning_rate": "offset_lr",
        "tokens_per_second": "tokens/s",
    }

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Put the numbers behind the bar."""
        if self.training_bar is None or not logs:
            return
        numbers = {short: f"{logs[n]:.4g}" for n, short in self.SHOWN.items() if n in logs}
        if numbers:
            self.training_bar.set_postfix(numbers)

    def close(self) -> None:
        """End the bar's line: for a run that breaks off."""
        if self.training_bar is not None:
            self.training_bar.close()
