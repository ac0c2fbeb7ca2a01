"""A rank whose launcher is gone stops by itself: it sends itself the SIGTERM that it never got.

SIGTERM to `deepspeed` ends its first process alone, SIGKILL to any launcher likewise; the ranks
would train on, unseen, and keep their GPUs.
"""

import logging
import os
import signal
import threading
from pathlib import Path

LOG = logging.getLogger(__name__)
PROGRAMS = {"deepspeed", "torchrun", "accelerate"}
MODULES = ("deepspeed.launcher", "torch.distributed", "accelerate.commands")
SECONDS = 1.0


def watch() -> threading.Event | None:
    """Watch the launcher from a thread, where there is one.

    Returns:
        An event that ends the watch; None where no launcher started this process.
    """
    if "RANK" not in os.environ:
        return None
    line, done = launchers(), threading.Event()

    def look() -> None:
        while not done.wait(SECONDS):
            if is_gone(line):
                LOG.info("rank %s: the launcher is gone", os.environ["RANK"])
                os.kill(os.getpid(), signal.SIGTERM)
                return

    threading.Thread(target=look, daemon=True, name="launcher watch").start()
    return done


def launchers() -> list[int]:
    """The parent, and those above it that are launchers too: `deepspeed` is two processes."""
    line = [os.getppid()]
    while _is_launcher(line[-1]) and (above := parent_of(line[-1])) and _is_launcher(above):
        line.append(above)
    return line


def is_gone(line: list[int]) -> bool:
    """Whether one of them has ended: its child has another parent now."""
    parents = [os.getppid(), *map(parent_of, line[:-1])]
    return parents != line


def parent_of(pid: int) -> int | None:
    """A process's parent; None for one that is gone, and on systems without /proc."""
    try:
        # the second field is the program's name, which may hold blanks and brackets
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except (OSError, ValueError, IndexError):
        return None


def _is_launcher(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return False
    # python, its options, the program or module; what follows is the script's own
    return any(Path(w).name in PROGRAMS or w.startswith(MODULES) for w in words[:4])
