"""Signals: noted at any moment, obeyed at the end of a step, by all ranks at the same step."""

import os
import signal
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from transformers import TrainerControl

from adept_llm.training import signals
from adept_llm.training.signals import SIGNALS, StopOnSignal, Stopped, noted_by_all
from tests.builders import small_model


@pytest.fixture
def stop():
    before = {number: signal.getsignal(number) for number in SIGNALS}
    one = StopOnSignal()
    one.install()
    yield one
    one.uninstall()
    assert {number: signal.getsignal(number) for number in SIGNALS} == before


def end_of_step(stop, step, most=10):
    control = TrainerControl()
    stop.on_step_end(None, SimpleNamespace(global_step=step, max_steps=most), control)
    return control.should_save, control.should_training_stop


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_at_the_end_of_the_step_with_a_checkpoint(stop, number):
    assert end_of_step(stop, 1) == (False, False) and stop.stopped is None
    send(number)
    assert stop.stopped is None  # nothing is done in the handler
    assert end_of_step(stop, 2) == (True, True)
    assert stop.stopped == signal.Signals(number).name


def test_the_first_of_two_signals_is_named(stop):
    send(signal.SIGUSR1)
    send(signal.SIGTERM)
    assert end_of_step(stop, 1) == (True, True) and stop.stopped == "SIGUSR1"


def test_after_the_last_step_the_run_is_simply_finished(stop):
    """Else a finished run would ask its scheduler to be run again."""
    send(signal.SIGTERM)
    assert end_of_step(stop, 10, most=10) == (False, False) and stop.stopped is None
    assert end_of_step(stop, 9, most=10) == (True, True)


def test_the_handlers_of_before_are_given_back():
    got = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: got.append(number))
    try:
        stop = StopOnSignal()
        stop.install()
        send(signal.SIGUSR1)
        assert got == []
        stop.uninstall()
        send(signal.SIGUSR1)
        assert got == [signal.SIGUSR1]
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        stop.uninstall()  # the second time there is nothing to give back
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_signal_to_another_rank_stops_this_one_too(stop, monkeypatch):
    def other_rank_has(number):
        def all_reduce(tensor, operation, group):
            assert operation == dist.ReduceOp.MAX and group == "our own group"
            torch.maximum(tensor, torch.tensor([number]), out=tensor)

        monkeypatch.setattr(signals.dist, "all_reduce", all_reduce)

    made = []
    monkeypatch.setattr(signals.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(
        signals.dist, "new_group", lambda backend: made.append(backend) or "our own group"
    )
    for _ in range(2):
        stop.on_train_begin(None, None, None)
    assert made == ["gloo"]  # costs a GPU nothing, and is made once
    other_rank_has(0)
    assert end_of_step(stop, 1) == (False, False)
    other_rank_has(int(signal.SIGTERM))
    assert end_of_step(stop, 2) == (True, True) and stop.stopped == "SIGTERM"
    stop.release()
    monkeypatch.setattr(signals.dist, "all_reduce", lambda *a, **k: pytest.fail("group is gone"))
    end_of_step(stop, 3)


def test_one_process_makes_no_group(stop, monkeypatch):
    monkeypatch.setattr(signals.dist, "new_group", lambda backend: pytest.fail("no ranks"))
    stop.on_train_begin(None, None, None)
    assert end_of_step(stop, 1) == (False, False)


def test_what_is_noted_for_several_runs_breaks_an_evaluation_off_at_its_next_batch():
    """Their threads are not the one that Python interrupts, so each looks by itself."""
    stops, model, read = [StopOnSignal(noted_only=True) for _ in range(2)], small_model("llama"), []
    before = signal.getsignal(signal.SIGTERM)
    with noted_by_all(stops):
        with pytest.raises(Stopped), stops[0].evaluating(model):
            for n in range(3):
                if n == 1:
                    send(signal.SIGTERM)  # raises nothing by itself
                model(torch.tensor([[3, 4]]))
                read.append(n)
    assert read == [0] and signal.getsignal(signal.SIGTERM) is before
    assert end_of_step(stops[1], 2) == (True, True) and stops[1].stopped == "SIGTERM"
