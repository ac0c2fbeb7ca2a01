"""Save and stop at the next step when the scheduler says so, on all ranks at the same step.

Slurm sends SIGUSR1 some time before the limit (`--signal`) and SIGTERM before a preemption; the
launchers pass SIGTERM on when they are ended. The handler does nothing but take a note, so that a
second signal, at any moment, changes nothing.
"""

import signal
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainerCallback

# EX_TEMPFAIL of sysexits.h: not finished, run it again. Launchers that do not hand on their
# workers' exit codes (torchrun ends with 1) leave it to result.json to tell a finished run.
STOPPED = 75
SIGNALS = (signal.SIGUSR1, signal.SIGTERM)


class StopOnSignal(TrainerCallback):
    """Ends training behind a checkpoint when any rank has received a signal.

    Attributes:
        stopped: Name of the signal that ended the training, or None.
    """

    def __init__(self) -> None:
        self.stopped: str | None = None
        self._received = 0
        self._group: Any = None
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """Take the signals over, from now until `uninstall`."""
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}

    def uninstall(self) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received = number

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Make a group for the ranks to agree over, which costs a GPU no synchronisation."""
        if dist.is_initialized() and self._group is None:
            self._group = dist.new_group(backend="gloo")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask all ranks; save and stop if one of them was told to."""
        received = torch.tensor([self._received])
        if self._group is not None:
            dist.all_reduce(received, dist.ReduceOp.MAX, group=self._group)
        if received.item() and state.global_step < state.max_steps:
            self.stopped = signal.Signals(int(received.item())).name
            control.should_save = True
            control.should_training_stop = True
