"""Runs on rows from the cache: the losses of memory, resumed without reading, shared by ranks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from adept_llm.cli.main import main
from adept_llm.data import Encoded, cached
from adept_llm.data.instruction_files import OwnRows
from adept_llm.demo import MODEL
from adept_llm.demo.world import examples
from adept_llm.training.log_file import read_losses

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
OPTIONS = [
    "--report_to", "none", "--use_cpu", "true", "--disable_tqdm", "true", "--max_length", "64",
    "--num_virtual_tokens", "5", "--bottleneck_size", "8", "--save_strategy", "steps",
]  # fmt: skip


def written(path, count):
    path.write_text("".join(json.dumps(row) + "\n" for row in examples(0, count, "train")))
    return path


def argv(train_file, out, *more):
    given = ["--model_name_or_path", MODEL, "--train_file", train_file, "--output_dir", out]
    return ["train", *map(str, [*given, *OPTIONS, *more])]


def test_a_run_from_the_cache_is_resumed_without_reading_a_row(tmp_path, monkeypatch, capsys):
    """And is refused where the file has changed, as one in memory is."""
    path = written(tmp_path / "train.jsonl", 40)
    more = ("--per_device_train_batch_size", 8, "--max_steps", 4, "--save_steps", 2)
    assert main(argv(path, tmp_path / "memory", *more)) == 0
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(cached, "LEAST_ROWS", 1)
    assert main(argv(path, tmp_path / "run", *more)) == 0
    losses = read_losses(tmp_path / "run")
    assert losses == read_losses(tmp_path / "memory")
    records = [json.loads((tmp_path / n / "run.json").read_text()) for n in ("run", "memory")]
    assert records[0]["data"] == records[1]["data"]

    (tmp_path / "run" / "run.json").unlink()
    longer = (*more[:2], "--max_steps", 6, "--resume_from_checkpoint", "auto")
    with monkeypatch.context() as patch:
        patch.setattr(Encoded, "content", lambda self: pytest.fail("a row was hashed again"))
        patch.setattr(OwnRows, "open", lambda self: pytest.fail("the file was read again"))
        assert main(argv(path, tmp_path / "run", *longer)) == 0
    found = read_losses(tmp_path / "run")
    assert {step: found[step] for step in losses} == losses and len(found) == 6

    (tmp_path / "run" / "run.json").unlink()
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[1:] + lines[:1]))
    capsys.readouterr()
    assert main(argv(path, tmp_path / "run", *longer)) == 2
    assert "training examples 40" in capsys.readouterr().err


def test_two_ranks_tokenise_once(tmp_path):
    """Two ranks, one folder, the losses of one process; whoever waits waits in no collective."""
    path = written(tmp_path / "train.jsonl", cached.LEAST_ROWS)
    environment = {
        **os.environ, "HF_DATASETS_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    program = [str(BIN / "torchrun"), "--standalone", "--nproc_per_node", "2"]
    script = str(ROOT / "recipes/llama2_adept.py")
    two = argv(path, tmp_path / "two", "--max_steps", 2, "--per_device_train_batch_size", 4)
    done = subprocess.run(
        [*program, script, *two[1:]], env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = done.stdout + done.stderr
    assert said.count("the tokenised rows are kept in") == 1
    (folder,) = (one for one in (tmp_path / "cache/adept_llm").iterdir() if one.is_dir())
    before = folder.stat().st_mtime_ns
    one = argv(path, tmp_path / "one", "--max_steps", 2, "--per_device_train_batch_size", 8)
    alone = subprocess.run(
        [sys.executable, script, *one[1:]], env=environment, capture_output=True, text=True
    )
    assert alone.returncode == 0, alone.stderr[-2000:]
    assert folder.stat().st_mtime_ns == before
    assert read_losses(tmp_path / "two") == pytest.approx(read_losses(tmp_path / "one"), rel=3e-6)
