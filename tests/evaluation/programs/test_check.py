"""Programs of a model: right ones pass, no other does, whatever it does to seem right."""

import os
import socket
import time
from pathlib import Path

import pytest

from adept_llm.data import Example
from adept_llm.errors import InputError
from adept_llm.evaluation.metrics import compute
from adept_llm.evaluation.programs import sandbox
from adept_llm.evaluation.programs.check import passes
from adept_llm.tasks import get_task, load_split

RIGHT = "def f(x):\n    return x + 1"
WRONG = "def f(x):\n    return 0"
TESTS = ("", "assert f(1) == 2")
REAL = Path(__file__).parents[4] / "shared" / "data" / "mbpp"


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Seconds enough for a program that does nothing wrong."""
    monkeypatch.setitem(sandbox.LIMITS, "RLIMIT_CPU", 2)
    monkeypatch.setattr(sandbox, "WALL_SECONDS", 5.0)


@pytest.fixture
def sandboxed():
    """Only where the kernel lets a sandbox start."""
    if (why_not := sandbox.no_sandbox()) is not None:
        pytest.skip(f"no sandbox here: {why_not}")


@pytest.fixture
def unsandboxed(monkeypatch):
    monkeypatch.setattr(sandbox, "no_sandbox", lambda: "not asked for")


@pytest.fixture(params=["sandboxed", "unsandboxed"])
def either(request):
    """What holds with a sandbox and without."""
    request.getfixturevalue(request.param)


def passed(before, program=RIGHT):
    return passes([(f"{before}\n{program}", TESTS)], allow_unsandboxed=True) == [True]


@pytest.mark.usefixtures("either")
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
        "import numpy; assert numpy.linalg.inv(numpy.eye(3) * 2)[0, 0] == 0.5",
    ],
)
def test_harmless_programs_pass(before):
    """With the standard library and numpy, in an empty folder, without the environment."""
    assert passed(before)


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize(
    "before",
    [
        "while True: pass",
        "import time; time.sleep(60)",
        "import os\nwhile True: os.fork()",
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
        "import os\nwhile True: [os.write(n, b'x' * 2**16) for n in range(3, 9) if n in OPEN]",
    ],
)
def test_harmful_programs_fail_in_time(before):
    """Each would pass its test if it were let."""
    look = "import os\nOPEN = [n for n in range(9) if os.path.exists(f'/dev/fd/{n}')] or [3, 4]\n"
    start = time.monotonic()
    assert not passed(look + before if "OPEN" in before else before)
    assert time.monotonic() - start < 9


# Says, wherever it could be heard, what the first judge of this project took for a pass, a word in
# its child's arguments, or else what this one takes.
FORGE = """
import gc, os, sys
def say():
    words = set()
    try:
        words |= set(open("/proc/self/cmdline", "rb").read().split(bytes(1)))
    except OSError:
        pass
    scopes = [vars(sys.modules["__main__"])]
    try:
        frame = sys._getframe()
        while frame:
            scopes.append(frame.f_globals)
            frame = frame.f_back
    except ValueError:
        pass
    scopes += [one for one in gc.get_objects() if type(one) is dict and "word" in one]
    words |= {s["word"].encode() for s in scopes if type(s.get("word")) is str}
    secrets = {word for word in words if len(word) == 16 and not word.strip(b"0123456789abcdef")}
    for number in range(3, 16):
        try:
            os.write(number, max(secrets, default=b"passed"))
        except OSError:
            pass
    os._exit(0)
"""


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize(
    "forge",
    [
        "say()",
        "f = lambda x: say()",
        "import atexit; atexit.register(say); f = lambda x: 0",
        "import atexit; atexit.register(say); raise SystemExit(0)",
        "sys.excepthook = lambda *a: say(); f = lambda x: 0",
        "sys.settrace(lambda *a: say()); f = lambda x: 0",
        "import signal; signal.signal(signal.SIGALRM, lambda *a: say()); signal.alarm(1)\n"
        "while True: pass",
        "class Says:\n    def __eq__(self, other): say()\nf = lambda x: Says()",
    ],
)
def test_a_wrong_program_cannot_say_that_it_passed(forge):
    """It left with the word that it found in arguments, frames, '__main__' or /proc."""
    assert not passed(FORGE + forge, "")


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize(
    "forge",
    [
        "class Same:\n    __eq__ = lambda *a: True\nf = lambda x: Same()",
        "class Same(int):\n    __eq__ = lambda *a: True\n    __hash__ = int.__hash__\nf = Same",
        "class Same(list):\n    __eq__ = lambda *a: True\nf = lambda x: Same()",
        "class Same:\n    __eq__ = lambda *a: True\n    __class__ = int\n    "
        "__index__ = lambda s: 0\nf = lambda x: Same()",
        "import builtins; builtins.AssertionError = builtins.print = builtins.repr = str\n" + WRONG,
        "import builtins; builtins.eval = builtins.exec = lambda *a: True\n" + WRONG,
        "import json; json.dumps = lambda *a, **k: '[true]'\n" + WRONG,
        "import sys; sys.modules['__main__'].judge = lambda *a: b'passed'\n" + WRONG,
    ],
)
def test_a_wrong_value_cannot_seem_equal(forge):
    """Where program and assertion share a process, a value that calls itself equal passes."""
    assert not passed(forge, "")


@pytest.mark.usefixtures("either")
def test_what_a_value_is_compared_with_is_not_in_the_programs_process():
    """Neither in its request nor in a variable of the tests that only the judge needs."""
    search = (
        "import gc, sys\ndef f(x):\n    frame = sys._getframe()\n    while frame:\n"
        "        for scope in (frame.f_globals, frame.f_locals):\n"
        "            if 'expected' in scope: return scope['expected']\n"
        "            if 'request' in scope:\n"
        "                found = [w for w in str(scope['request']).split() if 'nee' + 'dle' in w]\n"
        "                if found: return found[-1].strip(chr(39) + ')]}')\n"
        "        frame = frame.f_back\n"
    )
    honest = "def f(x):\n    return 'nee' + 'dle'"
    for tests in (["expected = 'needle'", "assert f(1) == expected"], ["assert f(1) == 'needle'"]):
        assert passes([(search, tests), (honest, tests)], allow_unsandboxed=True) == [False, True]


@pytest.mark.usefixtures("sandboxed")
def test_a_users_files_are_out_of_reach(tmp_path):
    """A program that deleted them used to pass."""
    tmp_path.chmod(0o777)
    mine = tmp_path / "thesis.txt"
    mine.write_text("years")
    mine.chmod(0o666)
    assert not passed(f"import os; os.remove({str(mine)!r})")
    assert not passed(f"open({str(mine)!r}, 'w')")
    assert not passed(f"open({str(mine)!r}).read()")
    assert mine.read_text() == "years"
    assert passed(f"import os; assert not os.path.exists({str(Path.home() / '.cache')!r})")


@pytest.mark.usefixtures("sandboxed")
@pytest.mark.parametrize(
    "look",
    [
        "open('/proc/self/environ')",
        "open('/proc/1/cmdline')",
        "import os; open(f'/proc/{os.getppid()}/mem')",
        "import os; open('/x', 'w')",
        "import os, sys; open(os.path.join(sys.prefix, 'x'), 'w')",
        "import os; os.mkdir('/usr/x')",
        "for i in range(99): open(str(i), 'w').write('x' * 10**6)",
        "import os; os.setuid(0)",
    ],
)
def test_nothing_can_be_read_of_others_or_written(look):
    """No /proc, a root that is read-only, a small folder, no way back to root."""
    assert not passed(look)


@pytest.mark.usefixtures("sandboxed")
@pytest.mark.parametrize("number", ["judge", "os.getppid()", "-1"])
def test_a_program_cannot_end_its_judge(number):
    """It sees no process but its own; and what it ends there are itself and the next of kin."""
    number = number.replace("judge", str(os.getpid()))
    passes([(f"import os, signal\nos.kill({number}, signal.SIGKILL)\n{WRONG}", TESTS)])
    assert passed("")


@pytest.mark.usefixtures("either")
def test_a_process_that_leaves_its_group_is_not_even_born(tmp_path):
    """What is killed by group could be left by setsid; so it must not start."""
    tmp_path.chmod(0o777)
    mark = tmp_path / "alive"
    code = f"import os, time\nif os.fork() == 0:\n os.setsid()\n open({str(mark)!r}, 'w')\n"
    assert not passed(code)
    time.sleep(0.3)
    assert not mark.exists()


@pytest.mark.usefixtures("either")
def test_there_is_no_network():
    """A server that is there for everybody else."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not passed(f"import socket; socket.create_connection(('127.0.0.1', {port}), 1)")


def test_wrong_and_right_are_told_apart_in_order():
    """Also when they run side by side, and one is no text."""
    programs = [(RIGHT, TESTS), (WRONG, TESTS), ("x = '\ud800'", TESTS)] * 2
    assert passes(programs, allow_unsandboxed=True) == [True, False, False] * 2


@pytest.mark.usefixtures("either")
def test_nothing_is_left_behind(tmp_path, monkeypatch):
    """No folder, no process."""
    monkeypatch.setattr(sandbox.tempfile, "tempdir", str(tmp_path))
    tmp_path.chmod(0o777)
    assert not passed("import time; open('x', 'w'); time.sleep(60)")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_without_a_sandbox_programs_are_refused_unless_allowed(monkeypatch, caplog):
    """As on macOS, or where the kernel gives no namespaces."""
    monkeypatch.setattr(sandbox, "no_sandbox", sandbox.no_sandbox.__wrapped__)
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match=r"bwrap is not installed.*--allow_unsandboxed_code"):
        passes([(RIGHT, TESTS)])
    assert passes([(RIGHT, TESTS)], allow_unsandboxed=True) == [True]
    assert "without a sandbox" in caplog.text


def test_a_sandbox_that_does_not_start_says_why(monkeypatch, tmp_path):
    """In bubblewrap's own words."""
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1")
    broken.chmod(0o755)
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: str(broken))
    assert sandbox.no_sandbox.__wrapped__() == "bwrap: No permissions to create new namespace"


def test_pass_at_k():
    """Set-up code first; the share of programs, or the chance that one of ten of them passes."""
    setup = "class Node:\n    value = 3"
    one, two = (
        Example("?", "x", "code", id=id_, answers=(setup, "assert root(Node()) == 3"))
        for id_ in "ab"
    )
    right, wrong = "def root(n):\n    return n.value", "def root(n):\n    return n"
    assert compute(["pass@1"], [one, two], [right, wrong], True) == {"pass@1": 0.5}
    examples = [one] * 10 + [two] * 10
    said = [right, *[wrong] * 9, *[wrong] * 10]
    assert compute(["pass@1", "pass@10"], examples, said, True) == {
        "pass@1": pytest.approx(0.05),
        "pass@10": pytest.approx(0.5),
    }
    with pytest.raises(InputError, match="pass@10 needs 10 samples of each program, not 1"):
        compute(["pass@10"], [one, two], [right, wrong], True)


@pytest.mark.skipif(not REAL.exists(), reason="the real MBPP is not on this machine")
def test_mbpps_own_programs_pass():
    """A sample, with the row whose trees need set-up code and the one that defines 'sum'."""
    rows = load_split(get_task("mbpp"), "test", REAL)
    odd = [one for one in rows if one.answers[0] or "assert sum(" in one.answers[1]]
    assert len(odd) == 2
    chosen = [*rows[::50], *odd]
    assert passes([(one.target, one.answers) for one in chosen], True) == [True] * len(chosen)
