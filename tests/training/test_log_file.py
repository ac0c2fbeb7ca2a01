"""log.jsonl: what was logged, through all restarts of a run."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from adept_llm.errors import InputError
from adept_llm.training.log_file import LogFile, read_log, read_losses


def log(folder, step, logs, first=True):
    args = SimpleNamespace(output_dir=folder)
    state = SimpleNamespace(global_step=step, is_world_process_zero=first)
    LogFile().on_log(args, state, None, logs)


def test_lines_are_appended_in_full_precision(tmp_path):
    folder = tmp_path / "a" / "run"
    log(folder, 1, {"loss": 0.1 + 0.2, "learning_rate": 1e-9})
    log(folder, 1, {"eval_accuracy": 0.5})
    lines = (folder / "log.jsonl").read_text().splitlines()
    assert list(map(json.loads, lines)) == [
        {"step": 1, "loss": 0.1 + 0.2, "learning_rate": 1e-9},
        {"step": 1, "eval_accuracy": 0.5},
    ]
    assert read_losses(folder) == {1: 0.1 + 0.2}


def test_of_two_lines_of_a_step_the_later_holds(tmp_path):
    """A killed run repeats the steps behind its last checkpoint."""
    for step, loss in [(1, 3.0), (2, 2.0), (3, 1.0), (2, 2.5), (3, 1.5)]:
        log(tmp_path, step, {"loss": loss})
    assert read_losses(tmp_path) == {1: 3.0, 2: 2.5, 3: 1.5}


def test_a_line_that_a_kill_cut_is_ended_and_passed_over(tmp_path):
    """The next line would be written behind it, and be lost with it."""
    log(tmp_path, 1, {"loss": 3.0})
    file = tmp_path / "log.jsonl"
    file.write_text(file.read_text() + '{"step": 2, "lo')
    assert read_losses(tmp_path) == {1: 3.0}
    for first in (False, True, True):
        state = SimpleNamespace(global_step=1, is_world_process_zero=first)
        LogFile().on_train_begin(SimpleNamespace(output_dir=tmp_path), state, None)
    log(tmp_path, 2, {"loss": 2.0})
    assert read_losses(tmp_path) == {1: 3.0, 2: 2.0}
    assert list(read_log(tmp_path)) == [1, 2] and len(file.read_text().splitlines()) == 3


def test_a_full_disk_is_told_in_a_line(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(InputError, match=r"log.jsonl: cannot be written \(No space left"):
        log(tmp_path, 1, {"loss": 1.0})


def test_only_rank_0_writes_and_only_what_there_is(tmp_path):
    log(tmp_path, 1, {"loss": 1.0}, first=False)
    log(tmp_path, 1, {})
    log(tmp_path, 1, None)
    assert list(tmp_path.iterdir()) == []
