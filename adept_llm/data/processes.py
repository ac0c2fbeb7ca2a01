"""Work spread over processes of their own, whose results come in order.

They are fresh interpreters. A rank that is forked would hand down its sockets, which then outlive
it, its handlers of signals, and tokenizers whose threads are gone; and what multiprocessing spawns
runs the user's script anew. A process that is left alone, its parent killed, ends at its next
result.
"""

import contextlib
import gc
import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, TypeVar

from adept_llm.errors import InputError

T = TypeVar("T")
R = TypeVar("R")
LEAST_TASKS = 20  # that a process is started for: it takes two seconds to begin
MOST_PROCESSES = 16  # whose results one reader takes in
PIPE = 1 << 20  # bytes that a process may be ahead


def spread(work: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
    """Results of a function, in the order of the tasks; by one process a core, where it pays.

    Args:
        work: A function that can be pickled.
        tasks: Of like size.

    Raises:
        InputError: What the first task raised that failed, or a process was killed.
        RuntimeError: A task failed otherwise; with the traceback of its process.
    """
    count = min(_cores(), len(tasks) // LEAST_TASKS, MOST_PROCESSES)
    if count < 2:
        yield from map(work, tasks)
        return
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(count):
            processes.append(_start(pickle.dumps((work, tasks[number::count]))))
        for number in range(len(tasks)):
            yield _result(processes[number % count])
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # Linux alone tells which are this process's
        return os.cpu_count() or 1


def _start(job: bytes) -> "subprocess.Popen[bytes]":
    path = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false"}
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
    )  # fmt: skip
    assert process.stdin and process.stdout
    with contextlib.suppress(ImportError, AttributeError, OSError):  # it is only quicker
        import fcntl

        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, PIPE)
    with contextlib.suppress(BrokenPipeError):  # which its result will tell
        process.stdin.write(job)
        process.stdin.flush()
    return process


def _result(process: "subprocess.Popen[bytes]") -> Any:
    assert process.stdout
    try:
        failure, found = pickle.load(process.stdout)
    except (EOFError, pickle.UnpicklingError) as error:
        raise InputError(
            f"a process that tokenises has ended with code {process.wait()}; if it was killed for "
            "want of memory, give it more, or fewer cores"
        ) from error
    if failure == InputError.__name__:
        raise InputError(found)
    if failure:
        raise RuntimeError(found)
    return found


def _serve(jobs: IO[bytes], results: IO[bytes]) -> None:
    """Do the tasks of a job one after another."""
    work, tasks = pickle.load(jobs)
    gc.freeze()  # what is there stays: looking at it again takes a tenth of the time
    for task in tasks:
        try:
            done: tuple[str, Any] = ("", work(task))
        except InputError as error:
            done = (InputError.__name__, str(error))
        except Exception:
            done = ("Exception", traceback.format_exc())
        pickle.dump(done, results, protocol=5)
        results.flush()
        if done[0]:
            return


if __name__ == "__main__":
    # signals are the parent's to act on; what a library prints must not come between results
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(one, signal.SIG_IGN)
    with os.fdopen(os.dup(1), "wb") as pipe:
        os.dup2(2, 1)
        with contextlib.suppress(BrokenPipeError):
            _serve(sys.stdin.buffer, pipe)
