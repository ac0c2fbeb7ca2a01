"""The job scripts on a real Slurm of two nodes: trained, stopped, requeued, lost and gone on."""

import json
import re
import sys
from pathlib import Path

import pytest

from adept_llm.cli.main import main
from adept_llm.demo import MODEL
from adept_llm.demo.world import examples
from adept_llm.training.log_file import LOG_FILE, read_losses
from tests.slurm.cluster import ask, kill_node, start_node, why_not
from tests.slurm.conftest import ROOT, wait_until

pytestmark = pytest.mark.skipif(why_not() is not None, reason=f"no Slurm: {why_not()}")
STEPS = 200


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def recipe(root):
    """A recipe without batch size, and its losses on one process."""
    data = root / "train.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in examples(0, 70, "train")))
    path = root / "recipe.yaml"
    settings = {
        "model_name_or_path": str(MODEL), "train_file": str(data), "max_steps": STEPS,
        "report_to": "none", "use_cpu": True, "disable_tqdm": True, "num_virtual_tokens": 5,
        "bottleneck_size": 8, "max_length": 64, "learning_rate": 0.01, "save_strategy": "steps",
        "save_steps": 20, "save_total_limit": 2,
    }  # fmt: skip
    path.write_text(json.dumps(settings))
    alone = ["--per_device_train_batch_size", "8", "--output_dir", str(root / "alone")]
    assert main(["train", str(path), *alone]) == 0
    return path, read_losses(root / "alone")


def train(slurm, recipe, out, gpus, **variables):
    """A job of two nodes; the global batch is that of `recipe`."""
    return slurm.submit(
        "--nodes=2", f"--gres=gpu:{gpus}", f"--output={out}.txt", "slurm/train.sbatch", out,
        recipe[0], "--per_device_train_batch_size", 4 // gpus, **variables,
    )  # fmt: skip


def wait_for_step(out, step):
    wait_until(lambda: (out / LOG_FILE).exists() and len(read_losses(out)) >= step)


def check_losses(out, recipe):
    losses = read_losses(out)
    assert sorted(losses) == list(range(1, STEPS + 1))
    assert losses[STEPS] == pytest.approx(recipe[1][STEPS], rel=1e-3)
    assert losses[5] == pytest.approx(recipe[1][5], rel=1e-5)
    assert (out / "run.json").exists()


@pytest.fixture(scope="module")
def disturbed(slurm, recipe, root):
    """Jobs side by side: one on two nodes, and an array of two with an evaluation behind it."""
    out, sweep, grid = root / "usr1", root / "sweep", root / "grid.txt"
    job = train(slurm, recipe, out, gpus=2)
    grid.write_text("".join(f"--max_steps 100 --seed {seed}\n" for seed in range(2)))
    array = slurm.submit(
        "--array=0-1", "--nodes=1", "--ntasks=1", "--cpus-per-task=2",
        f"--output={sweep}-%a.txt", "slurm/sweep.sbatch", sweep, grid, recipe[0],
        "--per_device_train_batch_size", "8",
    )  # fmt: skip
    data = json.loads(recipe[0].read_text())["train_file"]
    evaluation = slurm.submit(
        f"--dependency=afterok:{array}", "--nodes=1", f"--output={sweep}-evaluation.txt",
        "slurm/evaluate.sbatch", sweep / "1", "--file", data, "--max_samples", "8",
    )  # fmt: skip
    # what Slurm does at the time that --signal=B:USR1@180 names, but now; and once more
    for one, folder in ((f"{array}_1", sweep / "1"), (job, out)):
        wait_for_step(folder, 1)
        for _ in range(2):
            slurm.ask("scancel", "--signal=USR1", "--batch", one)
    for one in (job, evaluation):
        slurm.wait_for_end(one)
    return out, sweep


def test_two_nodes_stopped_before_the_limit_and_requeued(disturbed, recipe):
    out, _ = disturbed
    text = logged(out)
    assert "stopped by SIGUSR1" in text
    # the first rank to end, with 75, lets Slurm end those that are still at it: then it is 143
    assert re.search(r"not finished \(code (75|143)\): requeue", text)
    assert "start 1, on node[1-2]" in text and text.rstrip().endswith("finished")
    assert "resume: newest complete checkpoint" in text
    check_losses(out, recipe)


def test_an_array_of_which_one_is_requeued_and_an_evaluation_behind_it(disturbed):
    _, sweep = disturbed
    for task in range(2):
        text = Path(f"{sweep}-{task}.txt").read_text()
        assert text.rstrip().endswith("finished")
        assert ("start 1" in text) == (task == 1), text
        assert len(read_losses(sweep / str(task))) == 100
    assert "accuracy" in Path(f"{sweep}-evaluation.txt").read_text()


def test_preempted_then_a_node_lost(slurm, recipe, root):
    """By torchrun this time."""
    out = root / "preempted"
    job = train(slurm, recipe, out, gpus=1, LAUNCHER="torchrun")
    wait_for_step(out, 1)
    urgent = slurm.submit(
        "--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null",
        "--wrap", "sleep 0",
    )  # fmt: skip
    slurm.wait_for_end(urgent)
    stopped_at = max(read_losses(out))
    assert "told to stop" in logged(out) and stopped_at < STEPS
    wait_until(lambda: max(read_losses(out)) > stopped_at // 20 * 20 + 25)  # behind a checkpoint
    kill_node(slurm.root, "node2")
    wait_until(lambda: slurm.field(job, "Restarts") == "2")
    start_node(slurm.root, "node2", slurm.environment)
    slurm.wait_for_end(job)
    assert "start 2" in logged(out)
    check_losses(out, recipe)


def logged(out):
    return out.with_suffix(".txt").read_text()


def test_a_run_that_fails_is_not_requeued(slurm, root):
    job = slurm.submit(f"--output={root}/bad.txt", "slurm/train.sbatch", root / "bad", "none.yaml")
    slurm.wait_for_end(job, "FAILED")
    assert "none.yaml: cannot be read" in (root / "bad.txt").read_text()
    assert slurm.field(job, "Restarts") == "0"


def test_a_sweep_as_arrays(slurm, recipe, root):
    """Search and final runs are arrays of their own; given again, the command runs nothing."""
    plan, rows = root / "plan.json", json.loads(recipe[0].read_text())["train_file"]
    arguments = {"recipe": str(recipe[0]), "validation_file": rows, "max_validation_samples": 8}
    given = {
        "output_dir": str(root / "searched"), "seeds": [1],
        "arguments": arguments | {"per_device_train_batch_size": 8},
        "search": {"learning_rate": [0.1, 0.3]}, "rungs": [2], "metric": "accuracy",
        "final": {"max_steps": 3},
    }  # fmt: skip
    plan.write_text(json.dumps(given))
    options = "--nodes=1 --ntasks=1 --cpus-per-task=2"
    command = [sys.executable, "-m", "adept_llm.cli.main", "sweep", str(plan), "--slurm", options]
    done = ask(command, slurm.environment, cwd=ROOT)
    assert "chosen of 2 settings by accuracy: learning_rate" in done
    results = (root / "searched").glob("*/*/run.json")
    steps = [json.loads(path.read_text())["results"]["steps"] for path in results]
    assert sorted(steps) == [2, 2, 3]
    jobs = slurm.ask("squeue", "--noheader", "--states=all", "--name=adept-sweep")
    assert done.splitlines()[-1] in ask(command, slurm.environment, cwd=ROOT)
    assert slurm.ask("squeue", "--noheader", "--states=all", "--name=adept-sweep") == jobs
