"""Programs of a model: right ones pass, all others fail in time and leave nothing behind."""

import os
import socket
import time

import pytest

from adept_llm.data import Example
from adept_llm.errors import InputError
from adept_llm.evaluation import code_execution
from adept_llm.evaluation.code_execution import passes
from adept_llm.evaluation.metrics import compute

RIGHT = "def f(x):\n    return x + 1"
TESTS = ("", "assert f(1) == 2")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Seconds enough for a program that does nothing wrong."""
    monkeypatch.setattr(code_execution, "CPU_SECONDS", 1)
    monkeypatch.setattr(code_execution, "WALL_SECONDS", 2.5)


def passed(before):
    return passes([(f"{before}\n{RIGHT}", TESTS)]) == [True]


@pytest.mark.parametrize(
    "before",
    [
        "import math, re, collections, itertools, heapq, bisect, functools, sys",
        "print('x' * 10_000_000)",
        "import sys; sys.stdin.read()",
        "import os; assert os.listdir('.') == []",
        "open('own', 'w').write('x')",
        "import os; assert not {'HOME', 'PATH', 'HF_TOKEN'} & set(os.environ)",
        "x = [0] * 10_000_000",
    ],
)
def test_harmless_programs_pass(before):
    """With the standard library, in an empty folder, without the environment."""
    assert passed(before)


@pytest.mark.parametrize(
    "before",
    [
        "while True: pass",
        "import time; time.sleep(60)",
        "import os\nwhile True: os.fork()",
        "import os; os.fork()",
        "import os\nif os.fork() == 0: os.setsid()",
        "import subprocess; subprocess.run(['true'])",
        "import threading; threading.Thread(target=print).start()",
        "x = [0] * 10**10",
        "x = 'x'\nwhile True: x += x",
        "open('big', 'w').write('x' * 10**8)",
        "import sys; sys.exit(0)",
        "import os; os._exit(0)",
        "raise ValueError",
        "def f(:",
        "import resource; resource.setrlimit(resource.RLIMIT_NPROC, (99, 99))",
        "open('/etc/passwd', 'a')",
    ],
)
def test_harmful_programs_fail_in_time(before):
    """Each would pass its test if it were let."""
    start = time.monotonic()
    assert not passed(before)
    assert time.monotonic() - start < 5


def test_a_process_that_leaves_its_group_is_not_even_born(tmp_path):
    """What is killed by group could be left by setsid; so it must not start."""
    tmp_path.chmod(0o777)
    mark = tmp_path / "alive"
    code = f"import os, time\nif os.fork() == 0:\n os.setsid()\n open({str(mark)!r}, 'w')\n"
    assert not passed(code)
    time.sleep(0.3)
    assert not mark.exists()


def test_there_is_no_network():
    """A server that is there for everybody else."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not passed(f"import socket; socket.create_connection(('127.0.0.1', {port}), 1)")


def test_wrong_and_right_are_told_apart_in_order():
    """Also when they run side by side."""
    programs = [(RIGHT, TESTS), ("def f(x):\n    return x", TESTS)] * 4
    assert passes(programs) == [True, False] * 4


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    """No folder, no process."""
    monkeypatch.setattr(code_execution.tempfile, "tempdir", str(tmp_path))
    tmp_path.chmod(0o777)
    assert not passed("import time; open('x', 'w'); time.sleep(60)")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_pass_at_k():
    """Set-up code first; the share of programs, or the chance that one of ten of them passes."""
    setup = "class Node:\n    value = 3"
    one, two = (
        Example("?", "x", "code", id=id_, answers=(setup, "assert root(Node()) == 3"))
        for id_ in "ab"
    )
    right, wrong = "def root(n):\n    return n.value", "def root(n):\n    return n"
    assert compute(["pass@1"], [one, two], [right, wrong]) == {"pass@1": 0.5}
    examples = [one] * 10 + [two] * 10
    said = [right, *[wrong] * 9, *[wrong] * 10]
    assert compute(["pass@1", "pass@10"], examples, said) == {
        "pass@1": pytest.approx(0.05),
        "pass@10": pytest.approx(0.5),
    }
    with pytest.raises(InputError, match="pass@10 needs 10 samples of each program, not 1"):
        compute(["pass@10"], [one, two], [right, wrong])
