"""Checkpoints: whole or absent, found after accidents, bit-exact to go on from (INV 8)."""

import json
import logging
import os
import pickle
import resource
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save as to_safetensors
from transformers import BitsAndBytesConfig

from adept_llm.adapters import AdeptConfig, get_adapter, read_adapter
from adept_llm.adapters.config import BaseTable
from adept_llm.adapters.layer import AdeptEmbedding
from adept_llm.adapters.saved import adapter_files
from adept_llm.compat.transformers import quantization_of
from adept_llm.errors import InputError
from adept_llm.training.checkpoints.facts import check_same
from adept_llm.training.checkpoints.folders import (
    checkpoints,
    find_checkpoint,
    keep_newest,
    read_manifest,
    write_checkpoint,
)
from adept_llm.training.log_file import read_losses
from tests.builders import small_model
from tests.training.runs import losses_of, trainer_of

FILES = {"a.bin": b"0123456789", "b.json": b"{}"}


def names(run):
    return [path.name for path in checkpoints(run)]


@pytest.fixture
def said():
    """What the library logs, whether a command shows it or not."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    log = logging.getLogger("adept_llm")
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield lines
    log.removeHandler(handler)
    log.setLevel(level)


@pytest.fixture
def run_folder(tmp_path):
    for step in (2, 4, 6):
        write_checkpoint(tmp_path, step, FILES, {"seed": 1})
    return tmp_path


def test_what_was_written_is_found(run_folder):
    found = find_checkpoint(run_folder)
    assert found.newest == run_folder / "checkpoint-6" and found.skipped == ()
    assert (found.newest / "a.bin").read_bytes() == FILES["a.bin"]
    assert read_manifest(found.newest)["facts"] == {"seed": 1}
    assert not list(run_folder.glob(".*"))


@pytest.mark.parametrize(
    "damage, said",
    [
        (lambda c: (c / "a.bin").write_bytes(b"01234"), "5 bytes, written were 10"),
        (lambda c: (c / "a.bin").write_bytes(b"0123456780"), "was edited"),
        (lambda c: (c / "a.bin").unlink(), "No such file"),
        (lambda c: (c / "manifest.json").write_text("{"), "is damaged"),
        (lambda c: (c / "manifest.json").unlink(), "No such file"),
        (
            lambda c: (c / "manifest.json").write_text(
                (c / "manifest.json").read_text().replace('"seed": 1', '"seed": 2')
            ),
            "was edited",
        ),
    ],
)
def test_damaged_checkpoints_are_skipped_and_named(run_folder, damage, said):
    damage(run_folder / "checkpoint-6")
    (run_folder / ".unfinished-8").mkdir()
    found = find_checkpoint(run_folder)
    assert found.newest == run_folder / "checkpoint-4"
    unfinished, damaged = found.skipped
    assert "checkpoint-6" in damaged and said in damaged
    assert ".unfinished-8: was never finished" in unfinished
    with pytest.raises(InputError, match=said):
        read_manifest(run_folder / "checkpoint-6")


def test_the_age_of_a_checkpoint_is_its_step_not_the_clock(run_folder):
    """A checkpoint that was stamped an hour ahead made newer ones be deleted."""
    for name in ("manifest.json", "a.bin"):
        ahead = time.time() + 3600
        os.utime(run_folder / "checkpoint-4" / name, (ahead, ahead))
    manifest = json.loads((run_folder / "checkpoint-4" / "manifest.json").read_text())
    assert not {"written", "time", "date"} & manifest.keys()
    assert find_checkpoint(run_folder).newest == run_folder / "checkpoint-6"
    keep_newest(run_folder, 1, None)
    assert names(run_folder) == ["checkpoint-6"]


def test_what_lies_beyond_the_present_step_is_deleted_first(run_folder):
    """It was skipped as damaged, or the run would have begun there."""
    keep_newest(run_folder, 2, None, step=4)
    assert names(run_folder) == ["checkpoint-2", "checkpoint-4"]


def test_a_dangling_link_is_skipped_and_written_over(run_folder):
    (run_folder / "checkpoint-9").symlink_to(run_folder / "gone")
    found = find_checkpoint(run_folder)
    assert found.newest == run_folder / "checkpoint-6"
    (line,) = found.skipped
    assert "checkpoint-9" in line and "No such file" in line
    write_checkpoint(run_folder, 9, FILES, {})
    assert find_checkpoint(run_folder).newest == run_folder / "checkpoint-9"
    (run_folder / "checkpoint-8").symlink_to(run_folder / "gone")
    keep_newest(run_folder, 1, None)
    assert names(run_folder) == ["checkpoint-9"]


def test_limit_keeps_the_newest_and_the_best(run_folder):
    keep_newest(run_folder, None, None)
    assert names(run_folder) == ["checkpoint-2", "checkpoint-4", "checkpoint-6"]
    keep_newest(run_folder, 2, run_folder / "checkpoint-2")
    assert names(run_folder) == ["checkpoint-2", "checkpoint-6"]
    keep_newest(run_folder, 1, run_folder / "checkpoint-2")
    assert names(run_folder) == ["checkpoint-2", "checkpoint-6"]
    keep_newest(run_folder, 1, None)
    assert names(run_folder) == ["checkpoint-6"]


def test_a_disk_without_room_leaves_the_older_ones(run_folder):
    before = sorted(run_folder.rglob("*"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        with pytest.raises(InputError, match="make room"):
            write_checkpoint(run_folder, 8, {**FILES, "big": bytes(10_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(run_folder.rglob("*")) == before


@pytest.mark.parametrize("accumulation", [1, 2])
def test_resumed_losses_are_the_same_bits(tmp_path, accumulation):
    settings = {
        "per_device_train_batch_size": 8 // accumulation,
        "gradient_accumulation_steps": accumulation,
    }
    whole = losses_of(tmp_path / "whole", **settings)
    assert len(set(whole.values())) == 8
    # in the middle of an epoch, at its end, at its start
    for step in (2, 3, 4):
        part = tmp_path / f"from-{step}"
        shutil.copytree(tmp_path / "whole" / f"checkpoint-{step}", part / f"checkpoint-{step}")
        resumed = losses_of(part, "auto", **settings)
        assert resumed == {s: loss for s, loss in whole.items() if s > step}
        ends = [read_adapter(run / "checkpoint-8")[2] for run in (tmp_path / "whole", part)]
        assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_auto_starts_afresh_without_checkpoints_and_says_so(tmp_path, said):
    losses_of(tmp_path, "auto", max_steps=1)
    assert "none, training starts at step 0" in said[-1]


def test_auto_goes_round_a_cut_file(tmp_path, said):
    whole = losses_of(tmp_path / "run")
    broken = tmp_path / "run" / "checkpoint-8" / "optimizer.safetensors"
    broken.write_bytes(broken.read_bytes()[:-7])
    (tmp_path / "run" / "log.jsonl").unlink()
    assert losses_of(tmp_path / "run", "auto") == {8: whole[8]}
    out = "\n".join(said)
    assert "skipped" in out and "optimizer.safetensors has" in out
    assert str(tmp_path / "run" / "checkpoint-7") in out


@pytest.fixture(scope="module")
def one_step(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    losses_of(folder, max_steps=1)
    return folder


@pytest.mark.parametrize(
    "change, said",
    [
        ({"per_device_train_batch_size": 4}, "global batch 8, this run has 4"),
        ({"seed": 6}, "seed 5, this run has 6"),
        ({"data_seed": 6}, "data_seed 5, this run has 6"),
        ({"learning_rate": 0.2}, "learning_rate 0.1, this run has 0.2"),
        ({"offset_learning_rate": 0.2}, "offset_learning_rate 0.003, this run has 0.2"),
        ({"lr_scheduler_type": "cosine"}, "lr_scheduler_type linear, this run has cosine"),
        ({"warmup_steps": 0}, "warmup_steps 1, this run has 0"),
        ({"weight_decay": 0.1}, "weight_decay 0.0, this run has 0.1"),
        ({"optim": "adafactor"}, "optim adamw_torch_fused, this run has adafactor"),
        ({"max_grad_norm": 0.5}, "max_grad_norm 1.0, this run has 0.5"),
        ({"packing": "padded"}, "packing shared_prefix, this run has padded"),
        (
            {"config": AdeptConfig("adept", 4, 3, bottleneck_dropout=0.1)},
            "bottleneck_dropout 0.3, this run has 0.1",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_another_run_is_refused(one_step, change, said):
    trainer = trainer_of(one_step, **{"max_steps": 2, "warmup_steps": 1, **change})
    with pytest.raises(InputError, match=f"was written with {said}; give the same"):
        trainer.train(resume_from_checkpoint="auto")


@pytest.mark.parametrize(
    "model, said",
    [
        (lambda: small_model("llama", seed=1), "table of the base [0-9a-f]{12}, this run has"),
        (lambda: small_model("llama", torch.bfloat16), "dtype float32, this run has bfloat16"),
    ],
    ids=["values", "dtype"],
)
def test_another_base_is_refused_whatever_its_name(one_step, model, said):
    """A folder of the same name may hold other weights."""
    trainer = trainer_of(one_step, model=model(), max_steps=2, warmup_steps=1)
    with pytest.raises(InputError, match=said):
        trainer.train(resume_from_checkpoint="auto")


def test_another_quantization_is_refused():
    def kind(given):
        return quantization_of(SimpleNamespace(config=SimpleNamespace(quantization_config=given)))

    nf4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    assert [kind(None), kind(nf4), kind({"load_in_8bit": True})] == ["none", "nf4", "int8"]
    assert kind(BitsAndBytesConfig(**nf4)) == "nf4"
    with pytest.raises(InputError, match="quantization none, this run has nf4"):
        check_same(Path("c"), {"quantization": "none"}, {"quantization": "nf4"})
    with pytest.raises(InputError, match="says nothing of optim: an older adept_llm"):
        check_same(Path("c"), {}, {"optim": "sgd"})


def rates_of(folder):
    lines = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return {line["step"]: line["learning_rate"] for line in lines if "loss" in line}


def test_a_longer_run_follows_the_longer_schedule_and_its_own_saving(tmp_path, said):
    """A checkpoint's schedule, logging, saving and evaluation would silently hold."""
    losses_of(tmp_path / "whole", max_steps=8, save_steps=100)
    losses_of(tmp_path / "part", max_steps=4, save_steps=2)
    losses_of(tmp_path / "part", "auto", max_steps=8, save_steps=3)
    assert "resume: the schedule's length changes from 4 to 8 steps" in said
    longer, whole = rates_of(tmp_path / "part"), rates_of(tmp_path / "whole")
    later = range(5, 9)
    assert [longer[s] for s in later] == pytest.approx([whole[s] for s in later])
    steps = [2, 4, 6, 8]  # 2 and 4 of the first, multiples of 3 and the end of the second
    assert names(tmp_path / "part") == [f"checkpoint-{step}" for step in steps]


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_payload_in_a_forged_checkpoint_is_skipped_in_one_line(one_step, tmp_path, said):
    shutil.copytree(one_step, tmp_path / "run")
    good = tmp_path / "run" / "checkpoint-1"
    files = {p.name: p.read_bytes() for p in good.iterdir() if p.name != "manifest.json"}
    facts = read_manifest(good)["facts"]
    for step, content in ((7, pickle.dumps(Payload(tmp_path / "ran"))), (8, b"no archive")):
        write_checkpoint(tmp_path / "run", step, {**files, "state.pt": content}, facts)
    losses = losses_of(tmp_path / "run", "auto", max_steps=2, warmup_steps=1)
    assert sorted(losses) == [1, 2] and not (tmp_path / "ran").exists()
    lines = [x for x in said if "skipped" in x]
    assert len(lines) == 2 and all("holds what no checkpoint holds" in line for line in lines)


def test_an_older_checkpoint_with_newer_ones_beside_it_is_refused(tmp_path):
    """`auto` would go on from the newer ones another time."""
    losses_of(tmp_path, max_steps=3)
    with pytest.raises(InputError, match="newer ones beside it .checkpoint-2, checkpoint-3."):
        losses_of(tmp_path, str(tmp_path / "checkpoint-1"), max_steps=3)


def test_nothing_of_the_base_is_written(tmp_path):
    losses_of(tmp_path, max_steps=1)
    files = sorted(path.name for path in (tmp_path / "checkpoint-1").iterdir())
    assert files == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "manifest.json",
        "optimizer.safetensors",
        "state.pt",
        "trainer_state.json",
    ]
    assert set(read_adapter(tmp_path / "checkpoint-1")[2]) == {
        "prompt.weight", "offset.w1", "offset.b1", "offset.w2", "offset.b2"
    }  # fmt: skip


def test_the_best_adapter_is_kept_and_given_back(tmp_path):
    measured = iter([0.1, 0.9, 0.2, 0.3])
    trainer = trainer_of(
        tmp_path,
        lambda model, batcher: {"accuracy": next(measured)},
        max_steps=4,
        eval_strategy="steps",
        eval_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        save_total_limit=1,
    )
    trainer.train()
    assert "checkpoint-2" in names(tmp_path) and "checkpoint-3" not in names(tmp_path)
    best = read_adapter(tmp_path / "checkpoint-2")[2]
    values = get_adapter(trainer.model).trained_parameters()
    assert all(torch.equal(best[name], values[name]) for name in best)


def test_log_of_a_long_run_does_not_grow_the_checkpoint(tmp_path):
    losses_of(tmp_path)
    sizes = [
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").stat().st_size for step in (1, 8)
    ]
    assert sizes[1] < sizes[0] + 100
    state = json.loads((tmp_path / "checkpoint-8" / "trainer_state.json").read_text())
    assert state["global_step"] == 8 and len(read_losses(tmp_path)) == 8


@pytest.mark.parametrize("width, size", [(4096, 405_523), (5120, 506_899)])
def test_checkpoints_of_7b_and_13b_shapes_are_small(width, size):
    table = BaseTable(vocab_size=32_000, hidden_size=width, rms=1.0)
    layer = torch.nn.Embedding(1, width)
    adapter = AdeptEmbedding(layer, AdeptConfig("adept", 60, 19), table)
    values = adapter.trained_parameters()
    assert sum(value.numel() for value in values.values()) == size
    moments = {
        f"{name}.{key}": torch.zeros_like(value).detach()
        for name, value in values.items()
        for key in ("exp_avg", "exp_avg_sq")
    }
    files = [*adapter_files(adapter, values).values(), to_safetensors(moments)]
    assert sum(map(len, files)) < 6.2e6
