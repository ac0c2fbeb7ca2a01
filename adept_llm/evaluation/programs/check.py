"""Tell which programs pass their tests."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

from adept_llm.evaluation.programs import sandbox
from adept_llm.evaluation.programs.split import SplitTests, split_tests

AT_ONCE = min(4, os.cpu_count() or 1)


def passes(
    programs: Sequence[tuple[str, Sequence[str]]], allow_unsandboxed: bool = False
) -> list[bool]:
    """Tell which programs pass their tests.

    A program passes if the values that it gives, as plain data, hold in the tests: numbers, texts,
    bytes, None, and lists, tuples, sets and dictionaries of them. Other objects are no answers.

    Args:
        programs: Pairs of a program and the lines to run behind it, such as 'assert f(1) == 2'.
        allow_unsandboxed: Whether to run them under limits alone where no sandbox starts.

    Returns:
        For each whether it ran to its end and its values hold.

    Raises:
        InputError: There is no sandbox, or tests that are no lines of Python assertions.
    """
    sandbox.check_sandbox(allow_unsandboxed)
    sandboxed = sandbox.no_sandbox() is None
    split = [split_tests(tests) for _, tests in programs]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(_passes, [one for one, _ in programs], split, repeat(sandboxed)))


def _passes(program: str, tests: SplitTests, sandboxed: bool) -> bool:
    said = sandbox.ask({"program": program, "steps": tests.steps}, sandboxed)
    if not said or not said.isascii():
        return False
    judged = {"values": said.decode(), "names": tests.names, "tests": tests.judged}
    return sandbox.ask(judged, sandboxed) == b"passed"
