"""Where a sweep's runs are computed: in processes of this machine, or as a Slurm array."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from adept_llm.errors import InputError
from adept_llm.files import write_files
from adept_llm.sweep.grid_file import line_of
from adept_llm.sweep.runs import OUTPUT_FILE, Run

POLL = 0.2  # seconds
SCRIPT = "slurm/sweep.sbatch"
GRID_FILE = "grid.txt"
TOGETHER = "adept_llm.cli.train_together"
log = logging.getLogger(__name__)


class Launcher(Protocol):
    """Computes runs; each leaves run.json in its folder, or does not."""

    def __call__(self, runs: Sequence[Run]) -> None:
        """Return when all have ended."""


@dataclass(frozen=True)
class LocalLauncher:
    """Processes of this machine.

    Attributes:
        devices: One for each process that is to be side by side: its CUDA_VISIBLE_DEVICES, '' for
            what is set anyway.
        concurrent: So many runs of `train` are one process, and train at once on one base.
    """

    devices: tuple[str, ...] = ("",)
    concurrent: int = 1

    def __call__(self, runs: Sequence[Run]) -> None:
        """Start the next as one ends, none after one that failed.

        Broken off, it tells those that run, and waits for them. They are in sessions of their own,
        so that a signal reaches them once, and by this way.
        """
        waiting = groups(runs, self.concurrent)
        running: dict[int, tuple[Sequence[Run], subprocess.Popen[bytes]]] = {}
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            while waiting or running:
                for place, device in enumerate(self.devices):
                    if waiting and place not in running:
                        running[place] = (waiting[0], start(waiting.pop(0), device))
                time.sleep(POLL)
                for place, (group, process) in list(running.items()):
                    if process.poll() is not None:
                        del running[place]
                        for run in group:
                            log.info("%s", run)
                        if any(run.failed() for run in group):
                            waiting.clear()  # mostly they would fail alike
        finally:
            end([process for _, process in running.values()])
            signal.signal(signal.SIGTERM, before)


def end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Tell processes to save and stop, and wait; a second Ctrl-C does not cut that short."""
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(one, signal.SIG_IGN) for one in signals]
    if processes:
        log.info("stopping: %d processes save what they have", len(processes))
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()
    for one, handler in zip(signals, before, strict=True):
        signal.signal(one, handler)


def groups(runs: Sequence[Run], size: int) -> list[Sequence[Run]]:
    """So many runs of `train` at a time; those of another program each by itself."""
    together = [run for run in runs if run.program == "train"]
    alone = [[run] for run in runs if run.program != "train"]
    return [*(together[n : n + size] for n in range(0, len(together), size)), *alone]


def start(runs: Sequence[Run], device: str = "") -> subprocess.Popen[bytes]:
    """A process of one run or of several, whose words go to a file in the folder of each."""
    for run in runs:
        run.prepare()
        (run.folder / OUTPUT_FILE).write_bytes(b"")
    folders = [str(run.folder) for run in runs]
    command = [sys.executable, "-m", TOGETHER, *folders] if len(runs) > 1 else runs[0].command()
    shown = {"CUDA_VISIBLE_DEVICES": device} if device else {}
    # runs that train at once write to their files themselves; here goes what is no run's own
    with (runs[0].folder / OUTPUT_FILE).open("ab") as log:
        return subprocess.Popen(
            command, stdout=log, stderr=log, env=os.environ | shown, start_new_session=True
        )


@dataclass(frozen=True)
class SlurmLauncher:
    """Arrays of Slurm, one after another; needs the folder that holds slurm/ and recipes/.

    Attributes:
        options: Of sbatch, such as --gres=gpu:1.
    """

    options: tuple[str, ...] = ()

    def __call__(self, runs: Sequence[Run]) -> None:
        """Submit, and wait for the array's end.

        Raises:
            InputError: where nothing can be submitted; nothing is written then.
        """
        if not Path(SCRIPT).is_file():
            raise InputError(
                f"slurm: there is no {SCRIPT} in {Path.cwd()}: cd to its folder, or "
                "`cp -r $(adept-llm files slurm recipes) .`"
            )
        if any(run.program != "train" for run in runs):
            raise InputError("slurm: only 'program: train' runs as an array")
        folder = runs[0].folder.parent
        lines = [line_of(run.folder.name, run.words) for run in runs]
        for run in runs:
            run.prepare()
        write_files(folder, {GRID_FILE: "".join(lines).encode()})
        command = ["sbatch", "--wait", f"--array=0-{len(runs) - 1}", *self.options, SCRIPT]
        command += [str(folder), str(folder / GRID_FILE)]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except OSError as error:
            raise InputError(f"slurm: sbatch cannot be started ({error.strerror})") from error
        if "Submitted" not in done.stdout:
            raise InputError(f"slurm: {' '.join(done.stderr.split()) or 'sbatch said nothing'}")
