"""The launcher's end becomes a signal to each rank; where there is none, nothing is watched."""

import os
import signal
import subprocess
import threading
import time

from adept_llm.training import launcher_watch
from adept_llm.training.launcher_watch import is_gone, launchers, parent_of, watch


def test_the_parent_of_a_process_changes_when_it_ends():
    shell = subprocess.Popen(["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE)
    child = int(shell.stdout.readline())
    try:
        assert parent_of(child) == shell.pid and parent_of(shell.pid) == os.getpid()
        shell.kill()
        shell.wait()
        assert parent_of(child) != shell.pid
    finally:
        os.kill(child, signal.SIGKILL)
    assert parent_of(2**22 + 1) is None


def test_launchers_are_told_from_shells(monkeypatch):
    """`deepspeed` is two processes, and SIGTERM ends the upper one alone; a shell may go."""
    tree = {os.getppid(): 7, 7: 8, 8: 1}
    commands = {os.getppid(): "launch.py", 7: "deepspeed", 8: "bash"}
    monkeypatch.setattr(launcher_watch, "parent_of", tree.get)
    monkeypatch.setattr(launcher_watch, "_is_launcher", lambda p: commands.get(p, "bash") != "bash")
    line = launchers()
    assert line == [os.getppid(), 7] and not is_gone(line)
    tree[os.getppid()] = 1  # the upper one is gone
    assert is_gone(line)
    commands[os.getppid()] = "bash"
    assert launchers() == [os.getppid()]


def test_a_rank_whose_launcher_is_gone_gets_sigterm(monkeypatch):
    monkeypatch.setattr(launcher_watch, "SECONDS", 0.01)
    got, gone = threading.Event(), []
    monkeypatch.setattr(launcher_watch, "is_gone", lambda line: bool(gone))
    before = signal.signal(signal.SIGTERM, lambda number, frame: got.set())
    try:
        monkeypatch.delenv("RANK", raising=False)
        assert watch() is None
        monkeypatch.setenv("RANK", "0")
        done = watch()
        time.sleep(0.1)
        assert not got.is_set()
        gone.append(True)
        assert got.wait(5)
        done.set()
    finally:
        signal.signal(signal.SIGTERM, before)
