"""Ranks meet when asked by name, never because arguments were made."""

import argparse
import os
from pathlib import Path

import pytest
import torch.distributed as dist

from adept_llm.adapters import AdeptConfig
from adept_llm.cli.before_weights import check_base
from adept_llm.cli.parsing import parse
from adept_llm.demo import MODEL
from adept_llm.errors import InputError
from adept_llm.training.arguments import AdeptTrainingArguments, DataArguments, ModelArguments
from adept_llm.training.launch import join_ranks

ZERO2 = str(Path(__file__).parents[2] / "ds_configs" / "zero2.json")


@pytest.fixture
def started(monkeypatch):
    """Notes that a group would have been started, in place of starting it."""
    calls = []
    monkeypatch.setattr("adept_llm.training.launch.start_group_on_cpu", lambda: calls.append(1))
    monkeypatch.setenv("RANK", "0")
    return calls


@pytest.mark.parametrize("use_cpu", [False, True])
def test_without_deepspeed_nothing_is_started(started, use_cpu):
    assert join_ranks(None, use_cpu) is use_cpu and started == []


@pytest.mark.parametrize(("gpu", "answer"), [(True, False), (False, True)])
def test_ranks_without_a_gpu_are_ranks_of_the_cpu(started, monkeypatch, gpu, answer):
    """Else each would train the whole run by itself, all into one folder."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("torch.accelerator.is_available", lambda: gpu)
    assert join_ranks(None, False) is answer and join_ranks(None, True) is True
    assert started == []


@pytest.mark.parametrize(
    "gpu, use_cpu, answer, calls", [(True, False, False, []), (True, True, True, [1]),
                                    (False, False, True, [1]), (False, True, True, [1])]
)  # fmt: skip
def test_deepspeed_gets_a_group_where_the_cpu_is_used(
    started, monkeypatch, gpu, use_cpu, answer, calls
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    assert join_ranks(ZERO2, use_cpu) is answer and started == calls


def test_a_configuration_that_cannot_work_is_refused_first(started):
    with pytest.raises(InputError, match="train_batch_size"):
        join_ranks({"train_batch_size": 8, "gradient_clipping": "auto"}, True)
    assert started == []


@pytest.mark.parametrize("use_cpu", [False, True])
def test_arguments_start_no_group_and_refuse_to_go_without(tmp_path, monkeypatch, use_cpu):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    before = dict(os.environ)
    with pytest.raises(InputError, match="join_ranks"):
        AdeptTrainingArguments(str(tmp_path / "out"), deepspeed=ZERO2, use_cpu=use_cpu)
    assert not dist.is_initialized() and dict(os.environ) == before
    assert not (tmp_path / "out").exists()


def test_values_can_be_prepared_between_parsing_and_constructing():
    seen = []

    def prepare(found: argparse.Namespace) -> None:
        seen.append(found.task)
        found.task = "sst2"

    (data,) = parse([DataArguments], ["--task", "no such task"], prepare)
    assert seen == ["no such task"] and data.task == "sst2"
    with pytest.raises(InputError, match="--unknown"):
        parse([DataArguments], ["--task", "sst2", "--unknown", "1"], lambda _: seen.append("late"))
    assert len(seen) == 1


def test_checking_the_base_changes_no_argument(tmp_path):
    args = AdeptTrainingArguments(
        str(tmp_path / "out"), use_cpu=True, report_to="none", gradient_checkpointing=True
    )
    base = ModelArguments(str(MODEL), quantization="nf4")
    before = args.to_dict()
    check_base(base, AdeptConfig("adept", 4, 3), DataArguments(task="sst2"), args)
    assert args.to_dict() == before
