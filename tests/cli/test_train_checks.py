"""What train checks before weights are read: folders, ids, other adapters, odd models."""

import json
import shutil

import pytest

from adept_llm.cli.main import main
from adept_llm.demo import MODEL
from adept_llm.demo.world import examples


@pytest.fixture
def weightless(tmp_path):
    """The demo's base without its weights: reading them would fail, with another message."""
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder)
    (folder / "model.safetensors").unlink()
    return folder


@pytest.fixture
def train_file(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in examples(0, 16, "train")))
    return path


def refusal(capsys, model, train_file, *more):
    argv = ["train", "--model_name_or_path", model, "--train_file", train_file, *more]
    assert main([*map(str, argv), "--max_length", "64", "--report_to", "none"]) == 2
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("inside", ["", "/below"])
def test_output_dir_that_is_a_file(capsys, tmp_path, weightless, train_file, inside):
    (tmp_path / "file").write_text("x")
    line = refusal(capsys, weightless, train_file, "--output_dir", f"{tmp_path}/file{inside}")
    assert "output_dir" in line and "no folder" in line


def test_missing_adapter_to_start_from(capsys, tmp_path, weightless, train_file):
    more = ["--prompt_init", "adapter", "--prompt_init_adapter", tmp_path / "none"]
    line = refusal(capsys, weightless, train_file, "--output_dir", tmp_path / "out", *more)
    assert "adapter_config.json" in line


def test_token_ids_beyond_the_table(capsys, tmp_path, weightless, train_file):
    """They would be read as virtual tokens."""
    config = json.loads((weightless / "config.json").read_text())
    (weightless / "config.json").write_text(json.dumps({**config, "vocab_size": 300}))
    line = refusal(capsys, weightless, train_file, "--output_dir", tmp_path / "out")
    assert "table of 300 rows" in line and "train.jsonl:" in line


def test_a_model_that_cannot_be_estimated_is_trained_all_the_same(capsys, tmp_path, monkeypatch):
    from adept_llm.cli import before_weights

    monkeypatch.setattr(before_weights, "estimate", lambda *args: None)
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in examples(0, 16, "train")))
    argv = [
        "train", "--model_name_or_path", MODEL, "--train_file", path, "--max_steps", "1",
        "--output_dir", tmp_path / "out", "--max_length", "64", "--report_to", "none",
        "--save_strategy", "no", "--use_cpu", "true", "--disable_tqdm", "true",
    ]  # fmt: skip
    assert main([*map(str, argv)]) == 0
    assert "not estimated" in capsys.readouterr().out


def test_gpus_that_one_process_leaves_unused_are_told_once(
    capsys, tmp_path, weightless, train_file, monkeypatch
):
    """Else a machine of four would train at the speed of one without a word."""
    argv = [
        "train", "--model_name_or_path", weightless, "--train_file", train_file, "--dry_run",
        "true", "--output_dir", tmp_path / "out", "--max_length", "64", "--report_to", "none",
    ]  # fmt: skip
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    said = "1 of 4 GPUs is used; torchrun --nproc_per_node 4 uses all"
    assert main([*map(str, argv)]) == 0
    assert capsys.readouterr().out.count(said) == 1
    assert main([*map(str, argv), "--use_cpu", "true"]) == 0
    assert "GPUs" not in capsys.readouterr().out
