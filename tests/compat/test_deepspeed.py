"""DeepSpeed's internals, in an engine of one rank, and where slices are padded of two."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def engines():
    """What compat finds under ZeRO-2 and ZeRO-3, each in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    found = {}
    for stage in (2, 3):
        done = subprocess.run(
            [sys.executable, "-m", "tests.compat.engine", str(stage)],
            cwd=ROOT, env=environment, text=True, capture_output=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        found[stage] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("stage", [2, 3])
@pytest.mark.parametrize(
    "value", ["gathered", "master", "moments", "set whole", "set master", "set moment"]
)
def test_values_are_those_of_plain_adamw(engines, stage, value):
    """A name that changed would give another value, another shape or an error."""
    assert engines[stage][value] < 1e-6


def test_two_ranks_share_three_numbers():
    """The second rank's slice is padded: DeepSpeed's own setters failed there, on resuming."""
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
         "-m", "tests.compat.engine", "3"],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        text=True, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(ranks) == 2
    for found in ranks:
        values = ("gathered", "master", "moments", "set whole", "set master", "set moment")
        assert {name: found[name] for name in values if found[name] > 1e-6} == {}


@pytest.mark.parametrize("stage", [2, 3])
def test_partitions_hold_the_trained_values_and_the_step(engines, stage):
    found = engines[stage]
    assert found["optimizer"] == "AdamW" and found["steps"] == [2.0, 2.0]
    assert 21 <= found["partitions"] < 21 + 8  # 18 + 3, and padding


def test_a_slice_is_told_from_a_whole_weight(engines):
    assert [engines[stage]["sharded"] for stage in (2, 3)] == [False, True]
    for found in engines.values():
        assert found["shape"] == [6, 4] and found["bytes"] == 4 * 24


def test_the_second_groups_moments_are_found_only_when_linked_again(engines):
    """If DeepSpeed ever links them itself, `link_moments` can go."""
    assert [engines[stage]["links by itself"] for stage in (2, 3)] == [False, True]


def test_the_group_starts_with_gloo_and_without_a_kernel_to_compile(engines):
    for found in engines.values():
        assert found["group"] == "gloo" and found["own kernel"] is False


def test_slices_are_read_in_the_type_asked_for(engines):
    """Sharded or not, then the types of a bfloat16 base: as DeepSpeed reads it, and as asked."""
    assert engines[3]["loaded"] == ["False", "True", "float32", "bfloat16"]
