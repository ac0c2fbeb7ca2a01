"""Doctor: one line for each check, alone and on two ranks; failures named with a fix."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from adept_llm.cli.doctor import launcher, written_and_seen
from adept_llm.cli.main import main

ROOT = Path(__file__).parents[2]


def doctor(capsys, *argv):
    code = main(["doctor", "--use_cpu", "true", *map(str, argv)])
    return code, capsys.readouterr().out


def test_all_is_well_on_one_process(capsys, tmp_path):
    code, out = doctor(
        capsys, "--output_dir", tmp_path / "out", "--deepspeed", "ds_configs/zero3.json"
    )
    assert code == 0 and "FAIL" not in out
    for name in ("torch", "deepspeed", "host memory", "disk of output_dir", "ZeRO-3", "output_dir"):
        assert name in out
    assert not (tmp_path / "out").exists()  # it leaves nothing behind


@pytest.mark.parametrize("last", ["newc", "c" * 300])
def test_no_folder_that_was_made_to_look_is_left(tmp_path, last):
    """A mistyped path stayed, empty; of the second all can be made but its end."""
    (tmp_path / "here").mkdir()
    finding = written_and_seen(tmp_path / "here" / "newb" / last, lambda value: [value])
    assert finding.fails is (len(last) > 255)
    assert [*tmp_path.rglob("*")] == [tmp_path / "here"]


def test_failures_are_counted_and_say_what_to_do(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    config = json.loads((ROOT / "ds_configs" / "zero3.json").read_text())
    config["gradient_clipping"] = 1.0
    (tmp_path / "bad.json").write_text(json.dumps(config))
    code, out = doctor(
        capsys, "--output_dir", tmp_path / "file", "--deepspeed", tmp_path / "bad.json",
        "--ranks", 2,
    )  # fmt: skip
    assert code == 2 and out.count("FAIL") == 3
    assert '"gradient_clipping": "auto"' in out and "2 ranks were asked for" in out
    assert "name a folder that can be written" in out


def test_missing_nvme_folder(capsys, tmp_path):
    code, out = doctor(
        capsys, "--output_dir", tmp_path, "--deepspeed", "ds_configs/zero3_offload_nvme.json"
    )
    assert code == 2 and "nvme_path" in out


def test_half_a_launcher(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    (finding,) = launcher(None)
    assert "LOCAL_RANK" in finding.state and "torchrun" in finding.fix


def test_a_folder_that_another_rank_does_not_see(tmp_path):
    def gather(value):
        return [value, False] if isinstance(value, bool) else [value, value]

    finding = written_and_seen(tmp_path, gather)
    assert "ranks [1]" in finding.state and "all nodes share" in finding.fix


@pytest.mark.parametrize("ranks", [2])
def test_two_ranks(tmp_path, ranks):
    command = [
        Path(sys.executable).with_name("torchrun"), "--standalone", f"--nproc-per-node={ranks}",
        "-m", "adept_llm.cli.main", "doctor", "--use_cpu", "true", "--output_dir", tmp_path,
        "--ranks", ranks,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*map(str, command)], env=environment, cwd=ROOT, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert "2 joined, gloo" in done.stdout and "sum of 4 MB" in done.stdout
    assert done.stdout.count("seen by all ranks") == 1  # rank 0 speaks for all


@pytest.mark.parametrize("meant", [False, True])
def test_a_machine_without_a_gpu_is_noted_and_one_whose_gpu_is_not_seen_fails(
    monkeypatch, capsys, tmp_path, meant
):
    """Small models train on CPUs; a driver that torch does not reach is a fault."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/nvidia-smi" if meant else None)
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_GPUS"):
        monkeypatch.delenv(name, raising=False)
    code = main(["doctor", "--output_dir", str(tmp_path / "out")])
    line = next(x for x in capsys.readouterr().out.splitlines() if "device: " in x)
    assert (code, line[:4]) == ((2, "FAIL") if meant else (0, "note"))
    assert "--use_cpu true" in line


@pytest.mark.parametrize("hints", [True, False])
def test_hints_are_given_where_they_are_asked_for(capsys, monkeypatch, tmp_path, hints):
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "nonesuch")
    words = ["--fix-hints"] if hints else []
    code, out = doctor(capsys, "--output_dir", tmp_path / "out", *words)
    assert code == 2 and "FAIL  NCCL_SOCKET_IFNAME: nonesuch" in out
    lines = out.splitlines()
    (place,) = (n for n, line in enumerate(lines) if line.startswith("FAIL"))
    assert lines[place + 1].startswith("      $ ") == hints
