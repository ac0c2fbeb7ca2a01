"""Runs in one process that take turns, each in a thread of its own.

Nothing is parallel. A run goes on until it asks a question or ends; when all that are left have
asked, they are answered together. So the code of a run is that of a run alone. What a process has
once, random generators among it, is laid aside with the turn and found again with the next one.
"""

import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from adept_llm.compat import accelerate
from adept_llm.errors import InputError
from adept_llm.training.checkpoints.state import random_state, set_random_state

Answer = Callable[[Sequence[Any]], Sequence[Any]]
"""Questions, of which there are some -> an answer to each."""
OUTPUTS = (1, 2)  # file descriptors


class Turn(threading.Thread):
    """A run's thread.

    Args:
        work: what the run does; given this object, to ask.
        output: the file behind which it writes what it prints; None: where the process prints.
        argv: its sys.argv.

    Attributes:
        question: What it asks; None while it works, and when it has ended.
    """

    def __init__(
        self,
        work: Callable[["Turn"], None],
        output: Path | None = None,
        argv: Sequence[str] | None = None,
    ) -> None:
        super().__init__(daemon=True)  # a process that breaks off waits for nobody
        self.question: Any = None
        self._work = work
        self._output = output
        self._argv = sys.argv if argv is None else list(argv)
        self._answer: Any = None
        self._mine, self._over = threading.Semaphore(0), threading.Semaphore(0)
        self._state = random_state(), accelerate.process_state()

    def run(self) -> None:
        """Work when it has its first turn."""
        self._mine.acquire()
        try:
            self._work(self)
        finally:
            self._over.release()

    def ask(self, question: Any) -> Any:
        """Let others have their turns; the answer. Called by what works.

        Raises:
            InputError: in place of an answer.
            RuntimeError: where answering failed.
        """
        self.question = question
        self._over.release()
        self._mine.acquire()
        self.question, answer = None, self._answer
        if isinstance(answer, InputError):
            raise InputError(str(answer)) from answer
        if isinstance(answer, Exception):
            raise RuntimeError(f"in the pass in common: {answer}") from answer
        return answer

    def take(self, answer: Any) -> None:
        """Let it go on with an answer, until it asks or ends. Called by who deals out turns."""
        self._answer = answer
        argv, outputs = sys.argv, redirected(self._output)
        random, accelerated = self._state
        set_random_state(random)
        accelerate.set_process_state(accelerated)
        sys.argv = self._argv
        self._mine.release()
        self._over.acquire()
        self._state = random_state(), accelerate.process_state()
        sys.argv = argv
        give_back(outputs)


def take_turns(turns: Sequence[Turn], answer: Answer) -> None:
    """Let all work, in their order, until all have ended."""
    for turn in turns:
        turn.start()
    left, answers = list(turns), [None] * len(turns)
    while left:
        for turn, given in zip(left, answers, strict=True):
            turn.take(given)
        left = [turn for turn in left if turn.question is not None]
        if left:
            answers = _answered([turn.question for turn in left], answer)


def _answered(questions: Sequence[Any], answer: Answer) -> list[Any]:
    try:
        return list(answer(questions))
    except Exception as error:  # each run ends with it by itself, and gives back what it holds
        return [error] * len(questions)


def redirected(output: Path | None) -> list[int]:
    """Let the process print behind a file; copies of the descriptors that were there."""
    if output is None:
        return []
    _flush()
    before = [os.dup(number) for number in OUTPUTS]
    with output.open("ab") as file:
        for number in OUTPUTS:
            os.dup2(file.fileno(), number)
    return before


def give_back(before: Sequence[int]) -> None:
    """Inverse of `redirected`."""
    if before:
        _flush()
    for number, copy in zip(OUTPUTS, before, strict=False):
        os.dup2(copy, number)
        os.close(copy)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
