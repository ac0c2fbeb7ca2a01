"""Run programs that a model wrote against their tests, each in a process of its own.

What holds, on Linux and macOS: the program runs under hard limits of CPU time, memory, file size
and open files; it can start neither processes nor threads (where the user is root it becomes
'nobody' first, whom that limit binds); after a wall time it is killed with all of its group; it
starts in an empty folder, with an empty environment, no input and its output thrown away. On Linux
it has no network where the kernel lets a process leave it (as root, or with user namespaces);
elsewhere Python's sockets are taken away, which stops mistakes but no malice. It may read files and
signal processes as its user may. This is no sandbox against an attacker: that is a container.
"""

import secrets
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from adept_llm.errors import InputError

CPU_SECONDS = 5
WALL_SECONDS = 10.0
MEMORY = 512 * 2**20  # bytes of address space
FILE_SIZE = 2**20  # bytes
AT_ONCE = 4

# The program comes on standard input, and what it has to say at the end, so that a program which
# leaves early has not passed, on the command line.
RUNNER = r"""
import ctypes, os, resource, socket, sys

libc = ctypes.CDLL(None, use_errno=True)

def limit(kind, value):
    resource.setrlimit(kind, (value, value))

def leave_network():
    net, user = 0x40000000, 0x10000000
    unshare = getattr(libc, "unshare", None)
    if unshare is None or (unshare(net) and unshare(net | user)):
        def refuse(*args, **kwargs):
            raise OSError("no network here")
        socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse

def become_nobody():
    # keeps one capability, to read: Python itself may stand where only root can read it
    keep_capabilities, read = 8, (ctypes.c_uint32 * 6)(4, 4)
    if sys.platform == "linux":
        libc.prctl(keep_capabilities, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    if sys.platform == "linux":
        libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), read)

word, cpu, memory, size = sys.argv[1], *map(int, sys.argv[2:])
code = sys.stdin.read()
out = os.dup(1)
nothing = os.open(os.devnull, os.O_RDWR)
for number in (0, 1, 2):
    os.dup2(nothing, number)
leave_network()
if os.getuid() == 0:
    try:
        become_nobody()
    except OSError:
        pass  # root of a user namespace of its own: the limits below bind it
limit(resource.RLIMIT_CORE, 0)
limit(resource.RLIMIT_CPU, cpu)
limit(resource.RLIMIT_FSIZE, size)
limit(resource.RLIMIT_NOFILE, 32)
limit(resource.RLIMIT_NPROC, 0)
limit(resource.RLIMIT_AS, memory)
del sys.argv[1:]
exec(compile(code, "program", "exec"), {"__name__": "__main__"})
os.write(out, word.encode())
"""


def passes(programs: Sequence[tuple[str, Sequence[str]]]) -> list[bool]:
    """Tell which programs pass their tests.

    Args:
        programs: Pairs of a program and the lines to run behind it, such as 'assert f(1) == 2'.

    Returns:
        For each whether it ran to its end, tests included.

    Raises:
        InputError: The system has no limits for processes (Windows).
    """
    if sys.platform == "win32":
        raise InputError("generated code is run on Linux and macOS only: Windows sets no limits")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(_passes, ["\n".join([p, *tests]) for p, tests in programs]))


def _passes(code: str) -> bool:
    word = secrets.token_hex(8)
    limits = map(str, (CPU_SECONDS, MEMORY, FILE_SIZE))
    with tempfile.TemporaryDirectory(prefix="program-") as folder:
        Path(folder).chmod(0o777)  # 'nobody' works there too
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", RUNNER, word, *limits],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={},
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(code.encode(), WALL_SECONDS)
        except subprocess.TimeoutExpired:
            return False
        finally:
            _kill(process)
    return output == word.encode()


def _kill(process: "subprocess.Popen[bytes]") -> None:
    import os
    import signal

    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream:
            stream.close()
