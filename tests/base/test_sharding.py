"""What one rank holds of a sharded base, and how large a micro-batch then may be."""

import json
from pathlib import Path

import pytest
import torch

from adept_llm import AdeptConfig, InputError
from adept_llm.base.memory import GIB, USABLE, estimate, largest_batch
from adept_llm.base.shapes import known_shape
from adept_llm.base.sharding import Sharding
from adept_llm.cli.main import main

CONFIGS = Path(__file__).parents[2] / "ds_configs"
SEVEN, BYTES = 6_738_415_616, 2 * 6_738_415_616
SLICE, LIVE = BYTES // 8, 2_000_000_000


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("zero2", BYTES),
        ("zero3", SLICE + LIVE),
        ("zero3_multinode", SLICE + LIVE),
        ("zero3_offload_cpu", LIVE),
        ("zero3_offload_nvme", LIVE),
    ],
)
def test_shipped_configurations_on_eight_gpus(name, held):
    content = json.loads((CONFIGS / f"{name}.json").read_text())
    assert Sharding.of(content, 8).held(BYTES, SEVEN) == pytest.approx(held, rel=1e-6)


def test_a_small_base_is_never_counted_more_than_whole():
    assert Sharding(8, 3).held(100, 50) == 100


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_largest_batch_fits_and_the_next_does_not(checkpointing):
    config, adapter = known_shape("meta-llama/Llama-2-7b-hf"), AdeptConfig()

    def needs(batch):
        return estimate(
            config, adapter, torch.bfloat16, "nf4", batch, 128, "shared_prefix", checkpointing
        )

    found = largest_batch(needs, 24 * GIB)
    assert found > 1
    assert needs(found).total <= USABLE * 24 * GIB < needs(found + 1).total
    assert largest_batch(needs, 1 * GIB) == 0


def test_the_command_tells_batch_context_and_time(capsys):
    arguments = [
        "estimate", "--model_name_or_path", "meta-llama/Llama-2-7b-hf", "--num_tokens", "5000",
        "--gpu_memory", "24", "--deepspeed", str(CONFIGS / "zero3.json"), "--ranks", "8",
        "--tokens_per_second", "1000", "--examples", "2000", "--per_device_train_batch_size", "1",
    ]  # fmt: skip
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "largest batch  its tokens" in out and "sliced over 8 GPUs" in out
    assert "60 virtual tokens and 5000 of a text exceed the context of 4,096" in out
    # 2,000 x 5,000 tokens at 8 x 1,000 a second
    assert "10,000,000 tokens at 1,000 tokens/s on each of 8 GPUs take 0.3 hours" in out


@pytest.mark.parametrize("packing", ["shared_prefix", "padded"])
def test_the_tokens_that_fit_are_those_of_the_largest_batch(capsys, packing):
    """Given as --tokens_per_batch, they need as much as that batch, however large a batch is."""
    base = ["estimate", "--model_name_or_path", "meta-llama/Llama-2-7b-hf", "--num_tokens", "100"]
    base += ["--packing", packing]

    def rows(*given):
        assert main([*base, *given]) == 0
        lines = capsys.readouterr().out.splitlines()[3:9]
        return [line.split() for line in lines]

    batch, tokens = rows("--gpu_memory", "24")[-1][-2:]
    m, n = AdeptConfig().num_virtual_tokens, int(batch)
    computed = m + n * 99 if packing == "shared_prefix" else n * (m + 99)
    assert int(tokens.replace(",", "")) == computed
    alone = rows("--per_device_train_batch_size", batch)[-1]
    bounded = rows("--per_device_train_batch_size", batch, "--tokens_per_batch", str(computed))[-1]
    assert bounded == alone
    more = rows("--per_device_train_batch_size", "500", "--tokens_per_batch", str(computed))[-1]
    assert float(more[-2]) == pytest.approx(float(alone[-2]), rel=0.1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--ranks", "0"], "ranks: must be at least 1"),
        (["--gpu_memory", "-1"], "gpu_memory: must be above 0"),
        (["--tokens_per_batch", "0"], "tokens_per_batch: must be above 0"),
        (["--tokens_per_batch", "9", "--gpu_memory", "24"], "leave out one of them"),
        (["--examples", "5"], "give both --tokens_per_second and --examples"),
    ],
)
def test_sizes_that_cannot_be_are_refused(given, message, capsys):
    name = ["estimate", "--model_name_or_path", "meta-llama/Llama-2-7b-hf"]
    assert main([*name, *given]) == 2
    assert message in capsys.readouterr().err


def test_less_than_one_rank_is_refused():
    with pytest.raises(InputError, match="at least 1"):
        Sharding(0)
