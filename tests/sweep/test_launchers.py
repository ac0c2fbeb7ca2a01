"""Where runs are computed: processes side by side, their end, arrays of Slurm."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from adept_llm.cli.sweep import launcher
from adept_llm.errors import InputError
from adept_llm.sweep.launchers import LocalLauncher, SlurmLauncher, end
from adept_llm.sweep.plan import SweepPlan
from adept_llm.sweep.sweep import sweep


def test_processes_run_side_by_side_each_with_its_device(pretend):
    """Never more than there are devices, and each device is used."""
    rates = [0.01, 0.02, 0.03, 0.1, 0.3]
    plan = pretend(search={"learning_rate": rates}, arguments={"seconds": 0.5}, seeds=[])
    outcome = sweep(plan, LocalLauncher(("4", "7")))
    spans = [run.results()["when"] for run in outcome.searched]
    for began, _, _ in spans:
        at_work = [device for a, b, device in spans if a <= began < b]
        assert len(at_work) == len(set(at_work)) <= 2
    assert {device for *_, device in spans} == {"4", "7"}
    assert (outcome.searched[0].folder / "output.log").read_text() == "pretending\n"


def test_a_sweep_that_is_told_to_stop_ends_its_runs_and_goes_on_later(pretend, tmp_path):
    """Its runs are in sessions of their own, which no Ctrl-C reaches but through it."""
    file = tmp_path / "plan.json"
    plan = pretend(arguments={"seconds": 1.0})
    content = {
        "output_dir": plan.output_dir, "program": plan.program, "search": dict(plan.search),
        "arguments": dict(plan.arguments), "seeds": [1],
    }  # fmt: skip
    file.write_text(json.dumps(content))
    command = [sys.executable, "-m", "adept_llm.cli.main", "sweep", str(file), "--parallel", "1"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "out").rglob("run.json")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    finished = len(list((tmp_path / "out").rglob("run.json")))
    time.sleep(1.5)
    assert len(list((tmp_path / "out").rglob("run.json"))) == finished < 4
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "chosen of 3 settings by loss: learning_rate 0.1" in done.stdout
    assert f"{3 - finished} of 3 runs" in done.stdout


def test_a_second_interrupt_does_not_leave_runs_behind(tmp_path):
    """It falls into the wait for runs that save; they would end with nobody to see it."""
    code = textwrap.dedent("""
        import signal, sys, time
        def stop(*_):
            time.sleep(0.5)
            open("saved", "w").close()
            sys.exit()
        signal.signal(signal.SIGTERM, stop)
        open("ready", "w").close()
        time.sleep(60)
    """)
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, start_new_session=True)
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    interrupt = threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT])
    interrupt.start()
    end([process])
    assert (tmp_path / "saved").exists() and process.returncode == 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_slurm_wants_its_scripts_and_sbatch(pretend, tmp_path, monkeypatch):
    """Said in one line, before anything is written."""
    plan = pretend()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="there is no slurm/sweep.sbatch"):
        sweep(plan, SlurmLauncher())
    assert not (tmp_path / "out").exists()
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "sweep.sbatch").touch()
    broken = SweepPlan("out", {"prompt_init_text": ["a", "b\n"]})
    with pytest.raises(InputError, match=r"an argument of .* has a line break.*'b\\n'"):
        sweep(broken, SlurmLauncher())
    assert not (tmp_path / "out").exists()


def test_options_of_sbatch_may_be_quoted():
    """A comment or a feature list holds spaces."""
    assert launcher(None, "--comment='a b' --time=60") == SlurmLauncher(
        ("--comment=a b", "--time=60")
    )
    with pytest.raises(InputError, match="slurm: a quotation is not closed in --comment='a"):
        launcher(None, "--comment='a b")
