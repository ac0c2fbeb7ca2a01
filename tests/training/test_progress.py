"""Speed and progress bar, with a clock of our own."""

from types import SimpleNamespace

import pytest

from adept_llm.training import progress
from adept_llm.training.progress import AdeptProgress, ProgressLines, Speed, make_progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when a test says so."""
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now.seconds)
    return now


def step(speed, clock, seconds, *micro_batches):
    for examples, tokens in micro_batches:
        speed.count(examples, tokens)
    clock.seconds += seconds
    speed.on_step_end()


def test_examples_tokens_and_seconds_add_up(clock):
    speed = Speed()
    speed.on_train_begin()
    step(speed, clock, 2.0, (8, 100), (4, 60))
    step(speed, clock, 3.0, (8, 40))
    assert (speed.examples, speed.tokens, speed.seconds) == (20, 200, 5.0)


def test_time_before_training_is_not_counted(clock):
    speed = Speed()
    clock.seconds += 50
    speed.on_train_begin()
    step(speed, clock, 2.0, (1, 10))
    assert speed.seconds == 2.0


@pytest.mark.parametrize("event", ["on_evaluate", "on_save"])
def test_evaluation_and_saving_are_left_out(clock, event):
    speed = Speed()
    speed.on_train_begin()
    step(speed, clock, 2.0, (1, 10))
    clock.seconds += 1000
    getattr(speed, event)()
    step(speed, clock, 3.0, (1, 10))
    assert speed.seconds == 5.0


def test_the_speed_is_that_since_the_last_log_line(clock):
    speed = Speed()
    speed.on_train_begin()
    assert speed.since_asked() == (0.0, 0.0)  # no time has passed
    step(speed, clock, 2.0, (8, 100))
    assert speed.since_asked() == (50.0, 4.0)
    step(speed, clock, 4.0, (8, 100))
    step(speed, clock, 1.0, (8, 100))
    assert speed.since_asked() == (40.0, 3.2)
    assert speed.since_asked() == (0.0, 0.0)


class Bar:
    def __init__(self):
        self.postfix, self.closed = None, False

    def set_postfix(self, numbers):
        self.postfix = numbers

    def close(self):
        self.closed = True


def test_the_last_log_line_stands_behind_the_bar():
    shown = AdeptProgress()
    shown.training_bar = bar = Bar()
    logs = {
        "loss": 1.23456,
        "learning_rate": 0.3,
        "offset_learning_rate": 0.000123456,
        "tokens_per_second": 98765.4,
        "examples_per_second": 12.3456,
        "peak_memory_gb": 1.5,
        "epoch": 0.5,
    }
    shown.on_log(None, None, None, logs)
    expected = {
        "loss": "1.235", "lr": "0.3", "offset_lr": "0.0001235", "tokens/s": "98765",
        "examples/s": "12.35", "GB": "1.5",
    }  # fmt: skip
    assert bar.postfix == expected
    for nothing in ({"eval_accuracy": 0.5}, {}, None):
        shown.on_log(None, None, None, nothing)
    assert bar.postfix == expected  # what is said of the evaluation does not wipe it out
    shown.close()
    assert bar.closed


def test_other_ranks_have_no_bar():
    shown = AdeptProgress()
    shown.training_bar = None
    shown.on_log(None, None, None, {"loss": 1.0})
    shown.close()


def told(monkeypatch, max_steps, logs, clock=None, seconds=0.0):
    """The lines of a run with these logs, each with its step, which take so many seconds."""
    lines = []
    monkeypatch.setattr(progress.log, "info", lambda line, *values: lines.append(line % values))
    callback = ProgressLines()
    for step, entry in logs:
        state = SimpleNamespace(global_step=step, max_steps=max_steps, is_world_process_zero=True)
        if step == 0:
            callback.on_train_begin(None, state, None)
        elif clock:
            clock.seconds += seconds
        callback.on_log(None, state, None, entry)
    return lines


def test_a_log_without_a_terminal_gets_about_twenty_lines_and_the_evaluations(monkeypatch):
    """Each step would be too much, nothing too little."""
    logs = [(n, {"loss": 1.0 / n, "learning_rate": 0.3}) for n in range(1, 201)]
    logs.insert(0, (0, {"start_accuracy": 0.5}))
    logs.insert(100, (99, {"eval_accuracy": 0.75}))
    logs.append((200, {"train_runtime": 3.0}))
    lines = told(monkeypatch, 200, logs)
    assert lines[0] == "step 0 of 200: start_accuracy 0.5"
    assert lines[1].startswith("step 10 of 200: loss 0.1, lr 0.3, left ")
    assert "step 99 of 200: eval_accuracy 0.75" in lines
    assert lines[-1] == "step 200 of 200: loss 0.005, lr 0.3" and len(lines) == 22
    assert len(told(monkeypatch, 3, [(n, {"loss": 1.0}) for n in (0, 1, 2, 3)][1:])) == 3


def test_the_time_left_is_that_of_the_steps_so_far(monkeypatch, clock):
    logs = [(0, {"start_accuracy": 0.5}), *((n, {"loss": 1.0}) for n in range(1, 101))]
    lines = told(monkeypatch, 100, logs, clock, 90.0)
    assert lines[1] == "step 4 of 100: loss 1, left 2:24:00"  # after 300 s without a line
    assert lines[2] == "step 8 of 100: loss 1, left 2:18:00"
    assert lines[-1] == "step 100 of 100: loss 1"


@pytest.mark.parametrize("seconds, shown", [(9.4, "0:09"), (75, "1:15"), (3723, "1:02:03")])
def test_clock(seconds, shown):
    assert progress.clock(seconds) == shown


@pytest.mark.parametrize(
    "disable, terminal, kind",
    [(False, True, AdeptProgress), (False, False, ProgressLines), (True, True, ProgressLines)],
)
def test_bars_are_for_terminals(monkeypatch, disable, terminal, kind):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    assert isinstance(make_progress(disable), kind)
