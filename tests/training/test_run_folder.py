"""A run's folder: one run at a time, a finished one is not written again unasked."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from transformers.integrations import integration_utils

from adept_llm.errors import InputError
from adept_llm.training import run_folder
from adept_llm.training.checkpoints.folders import write_checkpoint
from adept_llm.training.run_folder import LOCK_FILE, claimed, clear, is_finished
from tests.builders import record_of

HOLD = (
    "import filelock, sys, time; lock = filelock.FileLock(sys.argv[1]);"
    "lock.acquire(); print(1, flush=True);"
    "time.sleep(99)"
)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(run_folder, "WAIT", 0.1)


def test_a_second_run_is_refused_and_the_folder_is_free_afterwards(tmp_path):
    out = tmp_path / "runs" / "a"
    with claimed(out):
        assert f"process {os.getpid()}" in (out / LOCK_FILE).read_text()
        with pytest.raises(InputError, match=f"another run is at work in .*process {os.getpid()}"):
            with claimed(out):
                pytest.fail("two at once")
        assert (out / LOCK_FILE).exists()  # the first one's still
    assert not (tmp_path / "runs").exists()  # nothing was written, nothing is left
    with claimed(out):
        (out / "log.jsonl").write_text("")
    assert [p.name for p in out.iterdir()] == ["log.jsonl"]


def test_a_run_that_was_killed_holds_nothing(tmp_path):
    """kill -9 leaves the file; no hand has to remove it."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / LOCK_FILE)]
    other = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        other.stdout.readline()
        with pytest.raises(InputError, match="another run is at work"), claimed(tmp_path):
            pytest.fail("two at once")
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert (tmp_path / LOCK_FILE).exists()
        with claimed(tmp_path):
            pass
    finally:
        other.kill()
        other.wait()


def test_a_folder_that_cannot_be_made():
    with pytest.raises(InputError, match="/proc/x cannot be written"), claimed(Path("/proc/x")):
        pytest.fail("it can")


def test_a_finished_run_is_not_overwritten(tmp_path):
    record_of().finished({"steps": 12}).write(tmp_path)
    assert "finished before, with 12 steps" in is_finished(tmp_path, "auto", False)
    for resume in (None, str(tmp_path / "checkpoint-12")):
        with pytest.raises(InputError, match="holds a finished run; name another .*overwrite"):
            is_finished(tmp_path, resume, False)
    assert is_finished(tmp_path, None, True) is None


def test_an_unfinished_run_goes_on_or_is_thrown_away_by_name(tmp_path):
    assert is_finished(tmp_path, None, False) is None
    write_checkpoint(tmp_path, 4, {"a": b""}, {})
    said = "holds checkpoint-4 of another run; --resume_from_checkpoint auto .*overwrite"
    with pytest.raises(InputError, match=said):
        is_finished(tmp_path, None, False)
    assert is_finished(tmp_path, "auto", False) is None
    assert is_finished(tmp_path, None, True) is None


def test_going_on_from_elsewhere_does_not_mix_two_runs(tmp_path):
    """Checkpoints of a third run would be taken for its own, and its best one be given back."""
    elsewhere = str(tmp_path / "E" / "checkpoint-12")
    out = tmp_path / "Z"
    assert is_finished(out, elsewhere, False) is None
    write_checkpoint(out, 4, {"a": b""}, {})
    assert is_finished(out, str(out / "checkpoint-4"), False) is None
    said = "holds checkpoint-4 of another run; --resume_from_checkpoint auto goes on from it$"
    with pytest.raises(InputError, match=said):
        is_finished(out, elsewhere, False)
    (out / "checkpoint-4").rename(tmp_path / "gone")
    (out / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="name another folder$"):
        is_finished(out, elsewhere, False)


def test_an_adapter_alone_is_not_overwritten_either(tmp_path):
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="holds adapter_model.safetensors of another run; name"):
        is_finished(tmp_path, None, False)


def test_only_what_a_run_left_is_thrown_away(tmp_path):
    write_checkpoint(tmp_path, 4, {"a": b""}, {})
    (tmp_path / ".unfinished-5").mkdir()
    record_of().write(tmp_path)
    left = ("adapter_model.safetensors", "adapter_config.json", "README.md", "log.jsonl")
    for name in (*left, "notes.txt"):
        (tmp_path / name).write_text("")
    curves = tmp_path / integration_utils.default_logdir() / "events.out.tfevents.1.host"
    curves.parent.mkdir(parents=True)
    curves.write_text("")
    clear(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_other_runs_beside_the_curves_stay(tmp_path):
    """Trainer keeps curves in runs/, which is also what many call the folder of all their runs."""
    events = f"{integration_utils.default_logdir()}/events.out.tfevents.1.host"
    other, own = tmp_path / "runs" / "a" / events, tmp_path / events
    for curves in (other, own):
        curves.parent.mkdir(parents=True)
        curves.write_text("")
    clear(tmp_path)
    assert other.exists() and not own.parent.exists()


def test_what_cannot_be_thrown_away_is_told_in_a_line(tmp_path):
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(InputError, match=f"{tmp_path.name}: cannot be written"):
        clear(tmp_path)
