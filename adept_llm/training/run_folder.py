"""A run's folder belongs to one run at a time, and a finished run's is not written again unasked.

The lock is flock's, by `filelock`: on NFS it holds between machines (Linux turns it into a lock of
byte ranges that the server keeps), and it vanishes with its process, so that nothing has to be
cleaned after a kill -9. Where a file system has no flock, filelock takes a marker file instead,
which names its process and is broken on the same machine once that one is gone.
"""

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

from adept_llm.adapters.saved import CONFIG_FILE, WEIGHTS_FILE
from adept_llm.card import CARD_FILE
from adept_llm.errors import InputError
from adept_llm.evaluation.predictions import PREDICTIONS_FILE
from adept_llm.files import named
from adept_llm.record import RECORD_FILE, RunRecord
from adept_llm.training.checkpoints.folders import (
    DELETED,
    UNFINISHED,
    checkpoints,
    lies_in,
    remove,
)
from adept_llm.training.launch import agreed
from adept_llm.training.log_file import LOG_FILE

LOCK_FILE = ".lock"
WAIT = 5.0  # seconds: a run that was killed a moment ago may still be ending
# Trainer's place for TensorBoard: runs/<start>_<host>; a folder runs may hold other runs, too
CURVES = f"runs/*[0-9][0-9]_{'-'.join(3 * ['[0-9][0-9]'])}_*/events.out.tfevents.*"
ANEW = "--overwrite_output_dir true begins anew there"


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder, which is made; nothing is left where nothing is written.

    All ranks must enter; rank 0 takes the lock.

    Raises:
        InputError: if another run is at work there, or the folder cannot be written.
    """
    locks: list[FileLock] = []
    made = [p for p in (folder, *folder.parents) if not p.exists()]
    agreed(lambda: locks.append(_lock(folder)))
    try:
        yield
    finally:
        for lock in locks:
            if not isinstance(lock, SoftFileLock):
                # while it is held: who waits for it sees that the file is gone, and makes another
                Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()
            with suppress(OSError):  # a folder that holds something stays
                for empty in made:
                    empty.rmdir()


def is_finished(folder: Path, resume: str | None, overwrite: bool) -> str | None:
    """What to say where a run that shall go on has come to its end; None where there is work to do.

    Args:
        folder: of the run.
        resume: the checkpoint to go on from, here or in another run's folder, 'auto', or None.
        overwrite: whether what an older run left may be thrown away.

    Raises:
        InputError: for a folder with another run's results or checkpoints.
    """
    if overwrite:
        return None
    if (folder / RECORD_FILE).exists():
        if resume == "auto":
            record = RunRecord.read(folder)
            steps = (record.results or {}).get("steps") if record else None
            return (
                f"{folder}: finished before, with {steps} steps; to train on, give another "
                f"--output_dir and --resume_from_checkpoint {folder}/checkpoint-N"
            )
        raise InputError(
            f"output_dir: {folder} holds a finished run; name another folder, or {ANEW}"
        )
    if resume and (resume == "auto" or lies_in(Path(resume), folder)):
        return None
    found = checkpoints(folder)
    left = found[-1].name if found else next((n for n in _adapter() if (folder / n).exists()), None)
    if left:
        way = "--resume_from_checkpoint auto goes on from it" if found else "name another folder"
        way += "" if resume else f", or {ANEW}"
        raise InputError(f"output_dir: {folder} holds {left} of another run; {way}")
    return None


def clear(folder: Path) -> None:
    """Delete what a run left in a folder, and nothing else; on rank 0, for all.

    Raises:
        InputError: for what cannot be deleted.
    """

    def act() -> None:
        with named(folder):
            for name in (RECORD_FILE, CARD_FILE, *_adapter(), LOG_FILE, PREDICTIONS_FILE):
                (folder / name).unlink(missing_ok=True)
            for checkpoint in checkpoints(folder):
                remove(checkpoint)
            for pattern in (UNFINISHED, DELETED):
                for leftover in folder.glob(f"{pattern}*"):
                    shutil.rmtree(leftover, ignore_errors=True)
            _clear_curves(folder)

    agreed(act)


def _clear_curves(folder: Path) -> None:
    for curves in folder.glob(CURVES):
        curves.unlink()
        for place in (curves.parent, curves.parent.parent):
            with suppress(OSError):  # it holds something else
                place.rmdir()


def _adapter() -> tuple[str, ...]:
    return (WEIGHTS_FILE, CONFIG_FILE)


def _lock(folder: Path) -> FileLock:
    lock = FileLock(folder / LOCK_FILE)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=WAIT)
        if not isinstance(lock, SoftFileLock):
            job = os.environ.get("SLURM_JOB_ID")
            holder = f"process {os.getpid()} on {socket.gethostname()}"
            (folder / LOCK_FILE).write_text(holder + (f", job {job}" if job else "") + "\n")
    except Timeout as error:
        with suppress(OSError):
            who = " ".join((folder / LOCK_FILE).read_text().split())
        raise InputError(
            f"output_dir: another run is at work in {folder} ({who or 'unknown'}); wait for its "
            "end, or name another folder"
        ) from error
    except OSError as error:
        raise InputError(f"output_dir: {folder} cannot be written ({error.strerror})") from error
    return lock
