"""Two ranks on the CPU: the losses of one process, in every form, and through every accident."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from adept_llm.cli.main import main
from adept_llm.demo import MODEL
from adept_llm.demo.world import examples
from adept_llm.errors import InputError
from adept_llm.training.checkpoints.folders import checkpoints
from adept_llm.training.deepspeed_config import check_deepspeed, zero_stage
from adept_llm.training.launch import adopt_slurm_ranks
from adept_llm.training.log_file import LOG_FILE, read_losses
from adept_llm.training.signals import STOPPED
from tests.training.variants import (
    ALONE,
    CONFIGS,
    TWO_RANKS,
    difference,
    measure_all,
    reference_of,
)

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
STEPS = 150
# accelerate's own start of several CPU ranks needs MPI; this one is torchrun's
ACCELERATE = (
    "--multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no"
).split()


@pytest.fixture(scope="module")
def parity():
    return measure_all(steps=6)


@pytest.mark.parametrize("name", [*ALONE, *TWO_RANKS])
def test_losses_are_those_of_one_process(parity, name):
    """INV 6; six steps go past the end of an epoch, whose last batch is short."""
    assert len(parity[name]["losses"]) == 6
    assert difference(parity[name], parity[reference_of(name)]) < 3e-6


@pytest.mark.parametrize("name", [*TWO_RANKS])
def test_all_ranks_evaluate_alike(parity, name):
    accuracy = parity[name]["accuracy"]
    assert len(accuracy) == 2 and accuracy[0] == accuracy[1]


@pytest.mark.parametrize("name", [name for name in TWO_RANKS if "pieces" in name])
def test_ranks_compute_equal_numbers_of_pieces(parity, name):
    """Under ZeRO-3 they would wait for each other for ever."""
    one, other = parity[name]["pieces"]
    assert one == other and max(one) > 1


def test_frozen_weights_are_really_split(parity):
    whole = parity["1 process"]["bytes"][0]
    assert parity["2 ranks, ZeRO-2"]["bytes"] == [whole, whole]
    for name in ("ZeRO-3", "ZeRO-3, accumulation 4", "ZeRO-3, padded", "ZeRO-3, offload to CPU"):
        assert parity[f"2 ranks, {name}"]["bytes"] == [whole // 2] * 2
    quantised = parity["4 bits, 1 process"]["bytes"][0]
    assert quantised < whole / 2
    assert sum(parity["4 bits, 2 ranks, ZeRO-3"]["bytes"]) < 1.01 * quantised


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json")), ids=lambda path: path.stem)
def test_shipped_configurations_are_valid(path):
    """Those that a CPU can run are started above; NVMe needs a compiled reader, so it is not."""
    from deepspeed.runtime.config import DeepSpeedConfig

    config = check_deepspeed(str(path))
    assert zero_stage(config) == (2 if path.stem == "zero2" else 3)
    numbers = {name: 1 for name, value in config.items() if value == "auto"}
    DeepSpeedConfig({**config, **numbers})


@pytest.mark.parametrize(
    "change, said",
    [
        ({"optimizer": {"type": "AdamW"}}, "knows one learning rate"),
        ({"gradient_clipping": 1.0}, '"gradient_clipping": "auto"'),
        ({"train_batch_size": 8}, '"train_batch_size": "auto"'),
        ({"bf16": {"enabled": True}}, "--dtype bfloat16"),
        ({"zero_optimization": {"stage": 2, "offload_optimizer": {}}}, "leave it out"),
    ],
)
def test_configurations_that_would_train_wrongly_are_refused(tmp_path, change, said):
    config = json.loads((CONFIGS / "zero2.json").read_text())
    (tmp_path / "bad.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(InputError, match="bad.json|bf16") as refusal:
        check_deepspeed(str(tmp_path / "bad.json"))
    assert said in str(refusal.value)


def test_clipping_left_out_is_refused(tmp_path):
    """DeepSpeed would clip at 1.0, whatever --max_grad_norm says."""
    config = json.loads((CONFIGS / "zero2.json").read_text())
    del config["gradient_clipping"]
    (tmp_path / "bad.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="gradient_clipping"):
        check_deepspeed(str(tmp_path / "bad.json"))


def test_slurm_ranks():
    step = {
        "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_STEP_NUM_TASKS": "4",
        "SLURM_STEP_TASKS_PER_NODE": "2(x2)", "MASTER_ADDR": "node1",
    }  # fmt: skip
    found = adopt_slurm_ranks(step)
    assert (found["RANK"], found["LOCAL_RANK"], found["WORLD_SIZE"]) == ("3", "1", "4")
    assert found["LOCAL_WORLD_SIZE"] == "2"
    assert adopt_slurm_ranks({**step, "RANK": "0"}) == {}  # torchrun under srun
    assert adopt_slurm_ranks({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}) == {}  # batch script
    with pytest.raises(InputError, match="MASTER_ADDR"):
        adopt_slurm_ranks({name: value for name, value in step.items() if name != "MASTER_ADDR"})


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Arguments of a run of `STEPS` steps, and its losses on one process without disturbance."""
    folder = tmp_path_factory.mktemp("job")
    data = folder / "train.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in examples(0, 70, "train")))
    argv = [
        "--model_name_or_path", MODEL, "--train_file", data, "--max_steps", STEPS,
        "--report_to", "none", "--use_cpu", "true", "--disable_tqdm", "true",
        "--num_virtual_tokens", "5", "--bottleneck_size", "8", "--max_length", "64",
        "--learning_rate", "0.01", "--save_strategy", "steps", "--save_steps", "100000",
    ]  # fmt: skip
    argv = [*map(str, argv)]
    alone = [*argv, "--per_device_train_batch_size", "8", "--output_dir", str(folder / "alone")]
    assert main(["train", *alone]) == 0
    return argv, read_losses(folder / "alone")


@pytest.mark.parametrize(
    "launcher, extra, number, code",
    [
        (["deepspeed", "--num_gpus", "2"], "zero3", signal.SIGINT, STOPPED),
        (["torchrun", "--standalone", "--nproc_per_node", "2"], "zero2", signal.SIGTERM, 1),
        (["accelerate", "launch", *ACCELERATE], None, signal.SIGUSR1, 1),
    ],
    ids=["deepspeed", "torchrun", "accelerate"],
)
def test_a_signal_saves_on_all_ranks_and_the_run_goes_on(
    job, tmp_path, launcher, extra, number, code
):
    argv, reference = job
    out = tmp_path / "out"
    argv = [*argv, "--output_dir", str(out)]
    two = [*argv, "--per_device_train_batch_size", "4"]
    if extra:
        two += ["--deepspeed", str(CONFIGS / f"{extra}.json")]
    program, *options = launcher
    port = "--main_process_port" if program == "accelerate" else "--master_port"
    if program != "torchrun":
        options += [port, str(20_000 + os.getpid() % 20_000)]
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    with (tmp_path / "output.txt").open("w") as output:
        process = subprocess.Popen(
            [str(BIN / program), *options, str(ROOT / "recipes/llama2_adept.py"), *two],
            env=environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            wait_for_step(out, 3, process)
            last_rank = ranks_of(process)[-1]
            for _ in range(3):  # further signals are harmless
                last_rank.send_signal(number)
            assert process.wait(60) == code
        finally:
            process.kill()
    text = (tmp_path / "output.txt").read_text()
    assert f"stopped by {number.name}" in text
    (saved,) = checkpoints(out)
    step = int(saved.name.split("-")[1])
    assert 3 <= step < STEPS
    assert not (out / "run.json").exists()  # the mark of a finished run

    # on one process and without DeepSpeed, to the end
    again = [*argv, "--per_device_train_batch_size", "8", "--resume_from_checkpoint", "auto"]
    assert main(["train", *again]) == 0
    losses = read_losses(out)
    assert sorted(losses) == list(range(1, STEPS + 1))
    # rounding differs, and the run is long enough for it to grow a little
    assert losses == {step: pytest.approx(loss, rel=1e-3) for step, loss in reference.items()}
    early = range(1, step + 10)
    assert [losses[s] for s in early] == pytest.approx([reference[s] for s in early], rel=1e-5)
    assert (out / "run.json").exists()


def test_signals_until_the_very_end_neither_trace_back_nor_change_the_exit_code(job, tmp_path):
    """Three SIGTERMs ended with -15: the handlers were gone before the process was."""
    argv, _ = job
    out = tmp_path / "out"
    command = [sys.executable, str(ROOT / "recipes/llama2_adept.py"), *argv, "--output_dir"]
    command += [str(out), "--max_steps", "100000", "--per_device_train_batch_size", "4"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with (tmp_path / "output.txt").open("w") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_for_step(out, 3, process)
        process.send_signal(signal.SIGINT)
        while process.poll() is None:
            process.send_signal(signal.SIGTERM)
            time.sleep(0.02)
        assert process.returncode == STOPPED
    finally:
        process.kill()
    text = (tmp_path / "output.txt").read_text()
    assert "stopped by SIGINT" in text and "Traceback" not in text
    assert len(checkpoints(out)) == 1


def test_ranks_whose_launcher_is_gone_save_and_stop(job, tmp_path):
    """SIGTERM to `deepspeed` ends its first process alone; the ranks trained on, unseen."""
    argv, _ = job
    out = tmp_path / "out"
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    command = [str(BIN / "deepspeed"), "--num_gpus", "2", "--master_port"]
    command += [str(20_000 + os.getpid() % 20_000), str(ROOT / "recipes/llama2_adept.py"), *argv]
    command += ["--output_dir", str(out), "--per_device_train_batch_size", "4"]
    command += ["--max_steps", "100000", "--deepspeed", str(CONFIGS / "zero2.json")]
    with (tmp_path / "output.txt").open("w") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    ranks = []
    try:
        wait_for_step(out, 3, process)
        ranks = ranks_of(process)
        assert len(ranks) == 2
        process.terminate()
        process.wait(20)
        gone, alive = psutil.wait_procs(ranks, timeout=60)
        assert not alive
    finally:
        process.kill()
        for rank in ranks:
            if rank.is_running():
                rank.kill()
    text = (tmp_path / "output.txt").read_text()
    assert "the launcher is gone" in text and "stopped by SIGTERM" in text
    assert len(checkpoints(out)) == 1 and not (out / "run.json").exists()


def wait_for_step(out, step, process, seconds=300):
    deadline = time.monotonic() + seconds
    while not (out / LOG_FILE).exists() or len((out / LOG_FILE).read_text().splitlines()) < step:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


def ranks_of(process):
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        environment = child.environ()
        command = child.cmdline()
        if "RANK" in environment and any(word.endswith("llama2_adept.py") for word in command):
            found.append((int(environment["RANK"]), child))
    return [child for _, child in sorted(found, key=lambda pair: pair[0])]
