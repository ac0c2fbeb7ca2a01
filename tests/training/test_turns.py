"""Turns: one at a time, in order, answered together; what a process has once is each one's own."""

import random
import sys

import numpy as np
import pytest
import torch
from accelerate.state import GradientState

from adept_llm.errors import InputError
from adept_llm.training.turns import Turn, take_turns


def seeded(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def drawn():
    return random.random(), float(np.random.rand()), torch.rand(()).item()


def test_all_that_ask_are_answered_together_and_who_has_ended_holds_up_nobody():
    """Of three that ask one, three and two times; each goes on only when it has the turn."""
    events = []

    def asking(name, times):
        def work(turn):
            for n in range(times):
                assert turn.ask(f"{name}{n}") == f"to {name}{n}"
                events.append(name)

        return Turn(work)

    def answer(questions):
        events.append(tuple(questions))
        return [f"to {one}" for one in questions]

    take_turns([asking("a", 1), asking("b", 3), asking("c", 2)], answer)
    assert events == [
        ("a0", "b0", "c0"), "a", "b", "c", ("b1", "c1"), "b", "c", ("b2",), "b"
    ]  # fmt: skip


def test_each_has_generators_and_arguments_of_its_own():
    """As if each had a process to itself; afterwards the process' own arguments are back."""
    expected, found, argv = {}, {}, sys.argv
    for seed in (1, 2):
        seeded(seed)
        expected[seed] = [drawn() for _ in range(3)]

    def drawing(seed):
        def work(turn):
            seeded(seed)
            found[seed] = []
            for _ in range(3):
                found[seed].append(drawn())
                turn.ask("next")
                assert sys.argv == ["train", str(seed)]

        return Turn(work, argv=["train", str(seed)])

    take_turns([drawing(1), drawing(2)], lambda questions: [drawn() for _ in questions])
    assert found == expected and sys.argv is argv


def test_accelerates_state_is_each_ones_own():
    """An optimizer would else skip its step where another run still adds gradients up."""
    found = []

    def adding_up(sync):
        def work(turn):
            state = GradientState()
            state._set_sync_gradients(sync)
            turn.ask("next")
            found.append(state.sync_gradients)

        return Turn(work)

    take_turns([adding_up(False), adding_up(True)], lambda questions: questions)
    assert found == [False, True]


def test_each_prints_behind_its_own_file(capfd, tmp_path):
    """Also what is written past Python, and what stood there before is kept."""
    paths = [tmp_path / name for name in "ab"]
    paths[0].write_text("before\n")

    def printing(path):
        def work(turn):
            for n in range(2):
                with open("/dev/stdout", "a") as file:
                    file.write(f"{path.name} {n}\n")
                turn.ask("next")

        return Turn(work, path)

    take_turns([printing(path) for path in paths], lambda questions: questions)
    assert [path.read_text() for path in paths] == ["before\na 0\na 1\n", "b 0\nb 1\n"]
    assert capfd.readouterr().out == ""


def test_an_error_of_another_kind_ends_each_by_itself():
    """It would else end the process, and no run would say a word or give back its folder."""

    def answer(questions):
        raise ValueError("wrong sizes")

    heard = []

    def work(turn):
        with pytest.raises(RuntimeError, match="^in the pass in common: wrong sizes$"):
            turn.ask(1)
        heard.append(turn)

    turns = [Turn(work), Turn(work)]
    take_turns(turns, answer)
    assert heard == turns


def test_where_nothing_can_be_answered_each_hears_why():
    """One may give up, and another go on."""
    heard, calls = [], []

    def answer(questions):
        calls.append(len(questions))
        if len(calls) == 1:
            raise InputError("memory: full")
        return questions

    def proud(turn):
        turn.ask(1)

    def patient(turn):
        with pytest.raises(InputError, match="memory: full"):
            turn.ask(1)
        heard.append(turn.ask(2))

    def giving_up(turn):
        try:
            proud(turn)
        except InputError as error:
            heard.append(str(error))

    take_turns([Turn(giving_up), Turn(patient)], answer)
    assert heard == ["memory: full", 2] and calls == [2, 1]
