"""Speed of training, and its progress: step, loss, both rates, speed, memory, time left.

On a terminal it is a bar; in a file or a pipe, as under Slurm, or with --disable_tqdm true, a line
now and then.
"""

import logging
import sys
import time
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ProgressCallback

from adept_llm.compat.trainer import LastingCallback

SHOWN = {
    "loss": "loss",
    "learning_rate": "lr",
    "offset_learning_rate": "offset_lr",
    "tokens_per_second": "tokens/s",
    "examples_per_second": "examples/s",
    "peak_memory_gb": "GB",
}
LINES = 20  # of a run
SILENCE = 300.0  # seconds without a line, at most
log = logging.getLogger(__name__)


class Speed(LastingCallback):
    """Counts tokens, examples and seconds of training; evaluation and saving are left out.

    Tokens are those of the texts: virtual tokens and padding are not counted, so that packed and
    padded runs compare. The counts are those of this rank since this start of the run; seconds of
    earlier starts come with the checkpoint.
    """

    def __init__(self) -> None:
        self.tokens = self.examples = 0
        self.seconds = self.earlier_seconds = 0.0
        self._since = 0.0
        self._logged = (0, 0, 0.0)

    def state(self) -> dict[str, Any]:
        """For checkpoints: seconds up to now, which a later start finds as earlier ones."""
        seconds = self.earlier_seconds + self.seconds
        return {"args": {}, "attributes": {"earlier_seconds": seconds}}

    def count(self, examples: int, tokens: int) -> None:
        """One micro-batch."""
        self.examples += examples
        self.tokens += tokens

    def since_asked(self) -> tuple[float, float]:
        """Tokens and examples per second since this was asked last."""
        tokens, examples, seconds = self._logged
        self._logged = (self.tokens, self.examples, self.seconds)
        elapsed = self.seconds - seconds
        if not elapsed:
            return 0.0, 0.0
        return (self.tokens - tokens) / elapsed, (self.examples - examples) / elapsed

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

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Put the numbers behind the bar."""
        if self.training_bar is None or not logs:
            return
        if numbers := shown(logs):
            self.training_bar.set_postfix(numbers)

    def close(self) -> None:
        """End the bar's line: for a run that breaks off."""
        if self.training_bar is not None:
            self.training_bar.close()


class ProgressLines(TrainerCallback):
    """A line for about each twentieth of a run or five minutes, and one for each evaluation."""

    def __init__(self) -> None:
        self._told = self._first = 0
        self._told_at = self._began = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A resumed run goes on where it stands."""
        self._told = self._first = state.global_step
        self._told_at = self._began = time.perf_counter()

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Tell the numbers, if it is time."""
        step, now, measured = state.global_step, time.perf_counter(), {}
        for name, value in (logs or {}).items():
            if name.startswith(("eval_", "start_")):
                measured[name] = f"{value:.4g}"
        due = (
            step - self._told >= max(1, state.max_steps // LINES)
            or step == state.max_steps
            or now - self._told_at >= SILENCE
        )
        numbers = measured or (shown(logs or {}) if due else {})
        if not state.is_world_process_zero or not numbers:
            return
        if not measured:
            self._told, self._told_at = step, now
            if self._first < step < state.max_steps:
                # evaluations and saving so far are in it, as those to come will be
                a_step = (now - self._began) / (step - self._first)
                numbers["left"] = clock((state.max_steps - step) * a_step)
        told = ", ".join(f"{name} {number}" for name, number in numbers.items())
        log.info("step %d of %d: %s", step, state.max_steps, told)

    def close(self) -> None:
        """Nothing is open."""


def make_progress(disable_tqdm: bool | None) -> AdeptProgress | ProgressLines:
    """A bar where somebody looks at a terminal and wants one, else lines."""
    return ProgressLines() if disable_tqdm or not sys.stderr.isatty() else AdeptProgress()


def shown(logs: dict[str, Any]) -> dict[str, str]:
    """The numbers of a training step by their short names."""
    return {short: number(logs[name]) for name, short in SHOWN.items() if name in logs}


def number(value: float) -> str:
    """Four digits, but all of those in front of the point."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def clock(seconds: float) -> str:
    """As 1:02:03, or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
