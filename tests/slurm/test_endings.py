"""How a job starts, and how it ends: cancelled, preempted, timed out or broken. Its ranks are toys.

Jobs go through the events of a kind side by side: Slurm lets a requeued job wait for seconds.
"""

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.slurm.cluster import why_not
from tests.slurm.conftest import ROOT, wait_until

pytestmark = pytest.mark.skipif(why_not() is not None, reason=f"no Slurm: {why_not()}")
TOY = Path(__file__).parent / "toy_rank.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A user's folder of copied scripts, in which the recipe is the toy."""
    folder = tmp_path_factory.mktemp("user")
    shutil.copytree(ROOT / "slurm", folder / "slurm")
    (folder / "recipes").mkdir()
    shutil.copy(TOY, folder / "recipes" / "llama2_adept.py")
    return folder


class Job:
    """A job of the toy on one node; `options` go to sbatch, `toy` to the recipe."""

    def __init__(self, slurm, folder, name, *options, toy=(), **variables):
        self.slurm, self.out = slurm, folder / "runs" / name
        self.id = slurm.submit(
            *options, "slurm/train.sbatch", self.out, "none.yaml", *toy, cwd=folder, **variables
        )

    def wait_for_start(self):
        wait_until(lambda: (self.out / "rank-0.json").exists())

    @property
    def log(self):
        return (self.out / f"adept-{self.id}.log").read_text()

    def check(self, state, restarts, more=0):
        """Ends so, after as many requeues or up to `more` beyond; its log has all starts."""
        self.slurm.wait_for_end(self.id, state)
        starts = self.log.count(", on node")
        assert self.slurm.field(self.id, "Restarts") == str(starts - 1), self.log
        assert restarts <= starts - 1 <= restarts + more, self.log
        assert self.log.endswith("finished\n") == (state == "COMPLETED"), self.log


@pytest.fixture(scope="module")
def timed_out(slurm, folder):
    """Jobs that reach their limit while the other tests run: Slurm looks but twice a minute.

    The deaf one does not know the signal before the limit, so that Slurm ends it with SIGTERM.
    """
    soon = ("--time=3", "--signal=B:USR1@140")  # 10 to 40 seconds after the start
    return {
        "srun": Job(slurm, folder, "limit-srun", *soon),
        "torchrun": Job(slurm, folder, "limit-torchrun", *soon, LAUNCHER="torchrun"),
        "last": Job(slurm, folder, "limit-last", *soon, MAX_RESTARTS="0"),
        "deaf": Job(slurm, folder, "limit-deaf", "--time=1", toy=["--deaf"]),
    }


@pytest.fixture(scope="module")
def cancelled(slurm, folder, timed_out):
    jobs = {
        (launcher, last): Job(
            slurm, folder, f"cancelled-{launcher}-{last}", LAUNCHER=launcher, MAX_RESTARTS=last
        )
        for launcher, last in (("srun", "100"), ("torchrun", "100"), ("srun", "0"))
    }
    for job in jobs.values():
        job.wait_for_start()
        slurm.ask("scancel", job.id)
    return jobs


@pytest.mark.parametrize("which", [("srun", "100"), ("torchrun", "100"), ("srun", "0")])
def test_a_cancelled_job_ends(cancelled, which):
    job = cancelled[which]
    job.check("CANCELLED", restarts=0)
    assert "cancelled by Slurm" in job.log and "requeue" not in job.log
    assert (job.out / "checkpoint-1").is_dir()  # what was learnt is kept all the same


@pytest.fixture(scope="module")
def told_at_once(slurm, folder):
    """Jobs that Slurm tells to stop before their scripts have done more than to look at Python."""
    python = folder / "python"
    python.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = -c ] && [ "${SLURM_RESTART_COUNT:-0}" = 0 ]; then kill -USR1 $PPID; fi\n'
        f'exec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    (folder / "one.txt").write_text("--finish\n")
    alone = Job(slurm, folder, "at-once", toy=["--finish"], PYTHON=str(python))
    out = folder / "runs" / "at-once-sweep"
    array = slurm.submit(
        "--array=0", "slurm/sweep.sbatch", out, "one.txt", "none.yaml", cwd=folder, PYTHON=python
    )
    return {"train": (alone.id, alone.out), "sweep": (f"{array}_0", out / "0")}


@pytest.mark.parametrize("script", ["train", "sweep"])
def test_a_job_that_is_told_to_stop_at_once_goes_on(slurm, told_at_once, script):
    job, out = told_at_once[script]
    slurm.wait_for_end(job)
    (log,) = out.glob("*.log")
    assert "told to stop before the ranks were started" in log.read_text()
    assert "start 1" in log.read_text()


def test_a_broken_job_that_got_further_goes_on(slurm, folder):
    Job(slurm, folder, "broken", toy=["--break"]).check("COMPLETED", restarts=1)


def test_one_task_of_an_array_is_cancelled_and_the_other_goes_on(slurm, folder):
    """And a line of the grid may quote as for a shell."""
    out, grid = folder / "runs" / "sweep", folder / "grid.txt"
    line = "--template 'a \"b\"  $HOME {text}' --empty '' --rate 0.1 # not an argument\\n"
    grid.write_text("--note it\\'s\n" + line)
    array = slurm.submit("--array=0-1", "slurm/sweep.sbatch", out, grid, "none.yaml", cwd=folder)
    for k in range(2):
        wait_until((out / str(k) / "rank-0.json").exists)
    seen = [json.loads((out / str(k) / "rank-0.json").read_text())["argv"] for k in range(2)]
    assert seen[0][:3] == ["none.yaml", "--note", "it's"]
    assert seen[1][1:5] == ["--template", 'a "b"  $HOME {text}', "--empty", ""]
    slurm.ask("scancel", f"{array}_1")
    slurm.ask("scancel", "--signal=USR1", "--batch", f"{array}_0")
    slurm.wait_for_end(f"{array}_1", "CANCELLED")
    slurm.wait_for_end(f"{array}_0")
    logs = [(out / str(k) / f"adept-sweep-{array}_{k}.log").read_text() for k in range(2)]
    assert "start 1" in logs[0] and "start 1" not in logs[1]


def test_a_preempted_job_goes_on_unless_it_was_its_last_start(slurm, folder):
    """With a time of grace or none, requeued by Slurm or cancelled; with torchrun: test_jobs.py."""
    jobs = {
        name: Job(
            slurm, folder, f"preempted-{name}", f"--partition={partition}", "--gres=gpu:1",
            MAX_RESTARTS=last,
        )
        for name, partition, last in (
            ("grace", "main", "1"), ("last", "main", "0"),
            ("no grace", "hasty", "1"), ("cancel", "cheap", "1"),
        )
    }  # fmt: skip
    for job in jobs.values():
        job.wait_for_start()
    slurm.submit(
        "--partition=urgent", "--nodes=2", "--gres=gpu:2", "--output=/dev/null", "--wrap", "sleep 0"
    )
    jobs["last"].check("FAILED", restarts=0)
    assert "give up; the same sbatch goes on from here" in jobs.pop("last").log
    for job in jobs.values():
        job.check("COMPLETED", restarts=1)


@pytest.mark.parametrize(
    ("launcher", "gpus"), [("srun", "--gres gpu:2"), ("torchrun", "--gpus-per-node 2")]
)
def test_one_rank_for_each_gpu_though_one_cpu_a_node_is_allocated(slurm, folder, launcher, gpus):
    """The README's own line: nothing but the number of nodes and their GPUs."""
    options = ["--nodes", "2", *gpus.split()]
    job = Job(slurm, folder, f"gpus-{launcher}", *options, toy=["--finish"], LAUNCHER=launcher)
    slurm.wait_for_end(job.id)
    assert slurm.field(job.id, "NumCPUs") == "2"
    places = [json.loads(path.read_text())["place"] for path in job.out.glob("rank-*.json")]
    nodes = {place[3] for place in places if place[0] < 2}
    assert sorted(place[:3] for place in places) == [[i, i % 2, 4] for i in range(4)]
    assert len(nodes) == 1 and {place[3] for place in places} == {"node1", "node2"}


@pytest.mark.parametrize(
    ("script", "words", "said"),
    [
        ("train", [], "usage: sbatch --nodes=2 --gres=gpu:8 slurm/train.sbatch OUTPUT_DIR"),
        ("train", ["grid.txt", "x.yaml"], "usage: sbatch"),  # the recipe before the folder
        ("train", ["runs/a", "x.yaml"], "recipes/ in {cwd}: cd to their folder first, then sbatch"),
        ("sweep", ["runs/a", "grid.txt", "x.yaml"], "usage: sbatch --array=0-3"),
        ("evaluate", [], "usage: sbatch --gres=gpu:1 slurm/evaluate.sbatch ADAPTER"),
        ("evaluate", ["runs/a"], "no slurm/ in {cwd}: cd to its folder first, then sbatch"),
    ],
)
def test_a_job_that_cannot_start_says_how_in_one_line(slurm, folder, tmp_path, script, words, said):
    (tmp_path / "grid.txt").write_text("--seed 1\n")
    job = slurm.submit(folder / "slurm" / f"{script}.sbatch", *words, cwd=tmp_path)
    slurm.wait_for_end(job, "FAILED")
    (log,) = tmp_path.glob("*.out")
    (line,) = log.read_text().splitlines()
    assert said.format(cwd=tmp_path) in line


def test_a_python_without_the_package_is_told_in_one_line(slurm, folder):
    """The environment that was not activated; it was a traceback of each rank."""
    job = Job(slurm, folder, "bare", PYTHON="/usr/bin/python3", PYTHONPATH="")
    slurm.wait_for_end(job.id, "FAILED")
    (log,) = folder.glob(f"*-{job.id}.out")
    (line,) = log.read_text().splitlines()
    log.unlink()  # the other jobs leave none here
    assert line.startswith("error: /usr/bin/python3 has no adept_llm: activate its environment")


@pytest.mark.parametrize("name", ["srun", "torchrun", "deaf"])
def test_a_job_at_its_time_limit_goes_on(timed_out, name):
    # on a busy machine a start so close to its limit may be told to stop before it has begun
    timed_out[name].check("COMPLETED", restarts=1, more=5)


def test_a_job_at_its_time_limit_fails_where_it_was_its_last_start(timed_out):
    timed_out["last"].check("FAILED", restarts=0)
    assert "give up; the same sbatch goes on from here" in timed_out["last"].log


def test_no_log_is_left_where_sbatch_was_called(folder, cancelled):
    assert [path.name for path in folder.glob("*.out")] == []
