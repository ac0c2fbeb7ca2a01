"""log.jsonl: each logged line of a run in full precision, through all its restarts."""

import json
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from adept_llm.files import named

LOG_FILE = "log.jsonl"


class LogFile(TrainerCallback):
    """Appends what Trainer logs to output_dir/log.jsonl.

    A run that was killed repeats the steps behind its last checkpoint: of two lines of a step, the
    later one holds. A run that begins at step 0 begins its log anew.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Drop the log of a run that left nothing to go on from; end a line that was cut."""
        path = Path(str(args.output_dir)) / LOG_FILE
        if not state.is_world_process_zero:
            return
        if state.global_step == 0:
            path.unlink(missing_ok=True)
            return
        with named(path):
            if path.exists() and not path.read_bytes().endswith(b"\n"):
                with path.open("a") as file:
                    file.write("\n")

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Append a line, on rank 0."""
        if not state.is_world_process_zero or not logs:
            return
        path = Path(str(args.output_dir)) / LOG_FILE
        with named(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a") as file:
                file.write(json.dumps({"step": state.global_step, **logs}) + "\n")


def read_log(folder: Path) -> dict[int, dict[str, float]]:
    """Step -> all numbers that were logged there, by name, in the order of the steps.

    A line that a kill cut short is passed over, as its step was repeated.
    """
    found: dict[int, dict[str, float]] = {}
    for line in (folder / LOG_FILE).read_text("utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
            numbers = found.setdefault(int(entry.pop("step")), {})
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        numbers.update({name: v for name, v in entry.items() if isinstance(v, int | float)})
    return dict(sorted(found.items()))


def read_losses(folder: Path) -> dict[int, float]:
    """Step -> loss of a run."""
    return {step: entry["loss"] for step, entry in read_log(folder).items() if "loss" in entry}
