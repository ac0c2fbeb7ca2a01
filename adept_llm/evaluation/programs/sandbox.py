"""The process in which a program runs: bubblewrap's sandbox, or limits alone where allowed.

In the sandbox there is a root of its own, read-only, that holds the system's libraries, Python and
its packages and nothing of the user; an empty folder in memory to work in; no network; no process
but its own, nor a way to name another. Hard limits of time, memory, file size, open files and
processes hold with and without it.
"""

import json
import logging
import os
import selectors
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from adept_llm.errors import InputError
from adept_llm.evaluation.programs import child

logger = logging.getLogger(__name__)

WALL_SECONDS = 20.0
ANSWER_BYTES = 2**20
INSIDE = "/program"  # the only folder it may write; not /tmp, below which Python itself may lie
FOLDER_BYTES = 2**24
LIMITS = {
    "RLIMIT_CORE": 0,
    "RLIMIT_CPU": 10,  # seconds
    "RLIMIT_FSIZE": 2**20,  # bytes
    "RLIMIT_NOFILE": 64,
    "RLIMIT_NPROC": 0,
    "RLIMIT_AS": 2**30,  # bytes of address space
}
# libraries that start threads on import must not: no process of a program may start another
ENVIRONMENT = {
    f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "OMP", "MKL", "NUMEXPR", "VECLIB")
}
SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64")


def check_sandbox(allow_unsandboxed: bool) -> None:
    """See whether programs can be run in a sandbox here.

    Args:
        allow_unsandboxed: Whether to go on, with a warning, where they cannot.

    Raises:
        InputError: They cannot and are not allowed to run outside of one.
    """
    if sys.platform == "win32":
        raise InputError("generated code is run on Linux and macOS only: Windows sets no limits")
    why_not = no_sandbox()
    if why_not is None:
        return
    if not allow_unsandboxed:
        raise InputError(
            f"programs that the model wrote find no sandbox here ({why_not}): install bubblewrap "
            "0.8 or later, or let them run with your files in reach by --allow_unsandboxed_code"
        )
    logger.warning("programs of the model run without a sandbox (%s)", why_not)


@cache
def no_sandbox() -> str | None:
    """Why no sandbox starts on this machine; None if one does."""
    command = sandbox_command()
    if command is None:
        return "bwrap is not installed"
    request = {"program": "", "steps": [], "sandboxed": True, "limits": LIMITS}
    try:
        trial = subprocess.run(
            command, input=json.dumps(request).encode(), capture_output=True, env={}, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if trial.stdout == b"[]":
        return None
    lines = trial.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"bwrap ended with {trial.returncode}"


def ask(request: dict[str, Any], sandboxed: bool) -> bytes:
    """Run the child on a request, and end it.

    Args:
        request: For `child.run` or `child.judge`.
        sandboxed: In a sandbox, or by limits alone.

    Returns:
        What it answered, at most `ANSWER_BYTES`; nothing if it said more or took too long.
    """
    deadline = time.monotonic() + WALL_SECONDS
    command = sandbox_command() if sandboxed else python_command()
    assert command is not None
    text = json.dumps({**request, "sandboxed": sandboxed, "limits": LIMITS})
    with tempfile.TemporaryFile() as given:
        given.write(text.encode())
        given.seek(0)
        folder = tempfile.mkdtemp(prefix="program-")
        Path(folder).chmod(0o777)  # 'nobody' works there too
        process = subprocess.Popen(
            command,
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=ENVIRONMENT,
            start_new_session=True,
        )
        try:
            return _read(process, deadline)
        finally:
            _kill(process)
            with suppress(RecursionError):
                shutil.rmtree(folder, ignore_errors=True)


def python_command() -> list[str]:
    """Python, apart from the user's settings, with the child's text and this Python's packages."""
    packages = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    text = f"import sys; sys.path += {sorted(packages)}\n{Path(child.__file__).read_text()}"
    return [os.path.realpath(sys.executable), "-I", "-c", text]


def sandbox_command() -> list[str] | None:
    """The same behind bubblewrap; None without it."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return None
    command = [bwrap, "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    command += ["--unshare-cgroup-try", "--die-with-parent", "--new-session"]
    if os.getuid() == 0:
        # what the child needs to become nobody for good; then the limit of processes binds it
        command += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        command += ["--unshare-user"]
    command += ["--size", str(FOLDER_BYTES), "--perms", "1777", "--tmpfs", INSIDE]
    command += ["--ro-bind", "/usr", "/usr"]
    for path in SYSTEM:
        if os.path.islink(path):
            command += ["--symlink", os.readlink(path), path]
        else:
            command += ["--ro-bind-try", path, path]
    for path in ("/etc/ld.so.cache", "/etc/alternatives", *_python_folders()):
        for folder in reversed(Path(path).parents):
            # by itself bwrap makes them for the owner alone, which 'nobody' is not
            command += ["--perms", "0755", "--dir", str(folder)]
        command += ["--ro-bind-try", path, path]
    for name in ("null", "zero", "random", "urandom"):
        command += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    return [*command, "--remount-ro", "/", "--chdir", INSIDE, "--", *python_command()]


def _python_folders() -> list[str]:
    """Where this Python and its packages stand."""
    folders = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders |= {sys.base_prefix, os.path.realpath(sys.base_prefix)}
    folders |= {os.path.realpath(sys.executable)}
    return sorted(one for one in folders if not one.startswith("/usr/") and one != "/usr")


def _read(process: "subprocess.Popen[bytes]", deadline: float) -> bytes:
    assert process.stdout is not None
    answer = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while len(answer) <= ANSWER_BYTES:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return b""
            piece = os.read(process.stdout.fileno(), 2**16)
            if not piece:
                return bytes(answer)
            answer += piece
    return b""


def _kill(process: "subprocess.Popen[bytes]") -> None:
    # the group first; in a sandbox all end with bwrap, the first process of their namespace
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
    if process.stdout:
        process.stdout.close()
