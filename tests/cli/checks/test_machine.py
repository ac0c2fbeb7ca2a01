"""Disks and cores that are short."""

import os
import shutil
from types import SimpleNamespace

import pytest

from adept_llm.cli.checks.machine import cores, space


@pytest.mark.parametrize(("free", "mark"), [(50, "ok  "), (5, "note"), (0.5, "FAIL")])
def test_a_full_disk_under_the_hubs_cache(tmp_path, monkeypatch, free, mark):
    cache = tmp_path / "hub"
    cache.mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))

    def usage(path):
        return SimpleNamespace(free=(free if path == cache else 50) * 2**30)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    found = {one.what: one for one in space(tmp_path / "out")}
    assert str(found["disk of the hub's cache"])[:4] == mark
    assert found["disk of the hub's cache"].hint.startswith("hf cache prune")
    assert not found["disk of output_dir"].fix


@pytest.mark.parametrize(
    ("here", "environment", "each", "short"),
    [
        (1, {"SLURM_STEP_NUM_TASKS": "4"}, 1, True),  # srun without --cpus-per-task
        (8, {"SLURM_STEP_NUM_TASKS": "4", "LOCAL_WORLD_SIZE": "4"}, 8, False),
        (8, {"SLURM_STEP_NUM_TASKS": "1", "LOCAL_WORLD_SIZE": "8"}, 1, True),  # torchrun's eight
        (8, {"LOCAL_WORLD_SIZE": "4"}, 2, False),
    ],
)
def test_cores_of_a_rank_under_slurm(monkeypatch, here, environment, each, short):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(here)))
    for name in ("SLURM_JOB_ID", "SLURM_STEP_NUM_TASKS", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert list(cores()) == []
    for name, value in {"SLURM_JOB_ID": "7", **environment}.items():
        monkeypatch.setenv(name, value)
    (finding,) = cores()
    assert finding.state == str(each) and bool(finding.fix) == short
    assert not short or "--cpus-per-task" in finding.fix
