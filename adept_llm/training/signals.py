"""Save and stop when the scheduler, the user or the launcher's end says so, on all ranks alike.

Slurm sends SIGUSR1 some time before the limit (`--signal`) and SIGTERM before a preemption, a user
presses Ctrl-C (SIGINT); the launchers pass SIGTERM on when they are ended, and a rank whose
launcher is gone sends it to itself (`launcher_watch`). What a signal does depends on where the run
is:

    start-up                nothing is there to be saved: `Stopped` is raised at once
    a training step         noted; at the step's end all ranks agree, save and stop
    an evaluation           `Stopped` within a batch, on all ranks at the same one; the caller saves
    saving, the very end    noted, and nothing more: a second signal, at any moment, changes nothing
"""

import atexit
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainerCallback

# EX_TEMPFAIL of sysexits.h: not finished, run it again. Launchers that do not hand on their
# workers' exit codes (torchrun ends with 1) leave it to run.json to tell a finished run.
STOPPED = 75
SIGNALS = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)


class Stopped(BaseException):
    """A signal ended the run outside of a training step; `name` is the signal's.

    No Exception: libraries take those for failures of their own, and go on.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class StopOnSignal(TrainerCallback):
    """Ends a run behind a checkpoint when any rank has received a signal.

    Args:
        noted_only: signals are told by `note`, and raise nothing by themselves: for a run in
            another thread than the one that Python interrupts.

    Attributes:
        stopped: Name of the signal that ended the training, or None.
    """

    def __init__(self, noted_only: bool = False) -> None:
        self.noted_only = noted_only
        self.stopped: str | None = None
        self._received = 0
        self._at_once = False
        self._group: Any = None
        self._before: dict[int, Any] = {}

    def install(self, at_once: bool = False) -> None:
        """Take the signals over, from now until `uninstall`.

        Args:
            at_once: raise `Stopped` where a signal arrives before the first training step.
        """
        self._at_once = at_once
        self._before = {number: signal.signal(number, self.note) for number in SIGNALS}

    def uninstall(self) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def release(self) -> None:
        """Let the group go: one that outlives the process group may abort the interpreter's end."""
        self._group = None

    @contextmanager
    def evaluating(self, model: torch.nn.Module) -> Iterator[None]:
        """Let a signal end what is measured in between.

        Args:
            model: which measures; the ranks agree before each text that it reads.

        Raises:
            Stopped: on all ranks before the same batch; alone, at once.
        """
        if self.stopped:
            raise Stopped(self.stopped)
        before, hook = self._at_once, None
        if self._group is None and not self.noted_only:
            self._at_once = True
        else:
            hook = model.register_forward_pre_hook(self._before_batch, with_kwargs=True)
        try:
            self.check()
            yield
        finally:
            self._at_once = before
            if hook is not None:
                hook.remove()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Make a group for the ranks to agree over, which costs a GPU no synchronisation."""
        if dist.is_initialized() and self._group is None:
            self._group = dist.new_group(backend="gloo")

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        """From here on there is something to save."""
        self._at_once = False

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask all ranks; save and stop if one of them was told to."""
        received = self._agreed()
        if received and state.global_step < state.max_steps:
            self.stopped = signal.Signals(received).name
            control.should_save = True
            control.should_training_stop = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Trainer takes a stop for an epoch's end; what is due then is not due in its middle."""
        if self.stopped and state.epoch != int(state.epoch):
            control.should_evaluate = control.should_save = False

    def note(self, number: int, frame: FrameType | None = None) -> None:
        """Take a signal, as its handler.

        Raises:
            Stopped: where nothing has to be saved.
        """
        self._received = self._received or number
        if self._at_once:
            self._at_once = False  # one exception is enough
            raise Stopped(signal.Signals(self._received).name)

    def check(self) -> None:
        """Break off here, on all ranks, where a signal has been noted.

        Raises:
            Stopped: naming it.
        """
        if received := self._agreed():
            raise Stopped(signal.Signals(received).name)

    def _before_batch(self, model: Any, args: Any, kwargs: dict[str, Any]) -> None:
        ids = kwargs.get("input_ids", args[0] if args else None)
        # not at the steps of decoding, whose number may differ from rank to rank
        if ids is None or ids.shape[1] > 1:
            self.check()

    def _agreed(self) -> int:
        """The largest signal that any rank has received, 0 for none."""
        received = torch.tensor([self._received])
        if self._group is not None:
            dist.all_reduce(received, dist.ReduceOp.MAX, group=self._group)
        return int(received.item())


@contextmanager
def noted_by_all(stops: Sequence[StopOnSignal]) -> Iterator[None]:
    """Let all of these note what arrives meanwhile."""

    def note(number: int, frame: FrameType | None) -> None:
        for stop in stops:
            stop.note(number)

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_at_exit() -> None:
    """Let no further signal change the exit code while the interpreter ends."""
    atexit.register(lambda: [signal.signal(number, signal.SIG_IGN) for number in SIGNALS])
