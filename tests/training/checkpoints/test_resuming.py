"""Checkpoints: whole or absent, found after accidents, bit-exact to go on from (INV 8)."""

import json
import resource
import shutil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save as to_safetensors

from adept_llm.adapters import AdeptConfig, get_adapter, read_adapter
from adept_llm.adapters.config import BaseTable
from adept_llm.adapters.layer import AdeptEmbedding
from adept_llm.adapters.saved import adapter_files
from adept_llm.errors import InputError
from adept_llm.training.checkpoints.folders import (
    checkpoints,
    find_checkpoint,
    keep_newest,
    read_manifest,
    write_checkpoint,
)
from adept_llm.training.log_file import read_losses
from adept_llm.training.sampling import GlobalBatches, Shares
from tests.training.runs import losses_of, trainer_of

FILES = {"a.bin": b"0123456789", "b.json": b"{}"}


def names(run):
    return [path.name for path in checkpoints(run)]


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


def test_an_older_run_with_higher_steps_does_not_win(run_folder):
    write_checkpoint(run_folder, 1, FILES, {})
    assert find_checkpoint(run_folder).newest == run_folder / "checkpoint-1"
    write_checkpoint(run_folder, 4, FILES, {})
    assert find_checkpoint(run_folder).newest == run_folder / "checkpoint-4"


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


@given(
    st.integers(1, 40), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(0, 3)
)
def test_ranks_share_each_global_batch_whatever_their_number(size, batch, accumulation, world, at):
    def epoch_of(shares):
        batches = list(GlobalBatches(size, shares, seed=3, epoch=lambda: at))
        assert len(batches) == len(GlobalBatches(size, shares, 3, lambda: at))
        return batches

    ranks = [epoch_of(Shares(batch, accumulation, world, rank)) for rank in range(world)]
    alone = epoch_of(Shares(batch * accumulation * world))
    assert len({len(batches) for batches in ranks}) == 1
    seen = []
    for step, together in enumerate(alone):
        shared = [
            index
            for batches in ranks
            for hand in batches[step * accumulation : (step + 1) * accumulation]
            for index in hand
            if index >= 0
        ]
        assert sorted(shared) == sorted(together)
        seen += shared
    assert sorted(seen) == list(range(size))


def test_epochs_differ():
    def order(epoch):
        return list(GlobalBatches(30, Shares(30), 0, lambda: epoch))[0]

    assert order(0) != order(1) and order(0) == order(0)


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


def test_auto_starts_afresh_without_checkpoints_and_says_so(tmp_path, caplog):
    caplog.set_level("INFO", "adept_llm")
    losses_of(tmp_path, "auto", max_steps=1)
    assert "none, training starts at step 0" in caplog.text


def test_auto_goes_round_a_cut_file(tmp_path, caplog):
    caplog.set_level("INFO", "adept_llm")
    whole = losses_of(tmp_path / "run")
    broken = tmp_path / "run" / "checkpoint-8" / "optimizer.safetensors"
    broken.write_bytes(broken.read_bytes()[:-7])
    (tmp_path / "run" / "log.jsonl").unlink()
    assert losses_of(tmp_path / "run", "auto") == {8: whole[8]}
    out = caplog.text
    assert "skipped" in out and "optimizer.safetensors has" in out
    assert str(tmp_path / "run" / "checkpoint-7") in out


@pytest.mark.parametrize(
    "change, said",
    [
        ({"per_device_train_batch_size": 4}, "global batch 8, this run has 4"),
        ({"seed": 6}, "seed 5, this run has 6"),
    ],
)
def test_another_run_is_refused(tmp_path, change, said):
    losses_of(tmp_path, max_steps=1)
    with pytest.raises(InputError, match=said):
        losses_of(tmp_path, "auto", **change)


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
