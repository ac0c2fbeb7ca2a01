"""The model of a step's time: by hand, by brute force, and in the page that shows it."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.scaling import links
from benchmarks.scaling.choose import MACHINES, break_even, choices, chosen, memory_of, needs_whole
from benchmarks.scaling.model import (
    PLANS,
    Cluster,
    Plan,
    adapter_seconds,
    compute_seconds,
    gather_seconds,
    hiding_tokens,
    step_seconds,
    weight_seconds,
)
from benchmarks.scaling.table import RESULT, counted, in_words, modelled, timed
from tests.builders import small_model
from tests.docs.pages import ROOT

BF16, ZERO3, HPZ, NF4, NF4_CUT = PLANS
TWO_NODES = Cluster(gpus=2, inside=10.0, nodes=2, between=4.0)


def ring_seconds(slices, cluster):
    """Each round every rank hands on the slice that came last; a round takes its slowest link."""
    ranks = len(slices)
    held, seconds = [{rank} for rank in range(ranks)], 0.0
    for turn in range(ranks - 1):
        times = []
        for rank in range(ranks):
            sent, to = (rank - turn) % ranks, (rank + 1) % ranks
            assert sent in held[rank]
            same = rank // cluster.gpus == to // cluster.gpus
            times.append(slices[sent] / (cluster.inside if same else cluster.between))
            held[to].add(sent)
        seconds += max(times)
    assert all(len(one) == ranks for one in held)
    return seconds


@pytest.mark.parametrize("cluster", [Cluster(3, 7.0), TWO_NODES, Cluster(1, 99.0, 4, 5.0)])
def test_a_gather_takes_what_a_ring_takes_round_by_round(cluster):
    size = 120.0
    found = gather_seconds(size, cluster.ranks, cluster.around)
    slices = [size / cluster.ranks] * cluster.ranks
    assert found == pytest.approx(ring_seconds(slices, cluster))


def test_operations_of_a_frozen_base_are_counted_right():
    """By torch's counter; attention's own products, which the model leaves out, are few here."""
    model = small_model("llama").requires_grad_(False)
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear))
    rows = torch.randn(4, 6, model.config.hidden_size, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        model(inputs_embeds=rows, use_cache=False).logits.sum().backward()
    assert counter.get_total_flops() == pytest.approx(
        compute_seconds(linear, rows.shape[0] * rows.shape[1], flops=1.0), rel=0.15
    )


def test_weights_by_hand():
    """1,000 weights over 4 ranks on two nodes."""
    assert weight_seconds(BF16, TWO_NODES, 1000) == weight_seconds(NF4, TWO_NODES, 1000) == 0
    # two gathers of 2,000 bytes, three quarters of them over a link of 4
    assert weight_seconds(ZERO3, TWO_NODES, 1000) == pytest.approx(2 * 0.75 * 2000 / 4)
    assert weight_seconds(ZERO3, TWO_NODES, 1000, checkpointing=True) == pytest.approx(1125)
    # half of them, over a link of 10
    assert weight_seconds(HPZ, TWO_NODES, 1000) == pytest.approx(2 * 0.5 * 2000 / 10)
    # 4 bits and an eighth of a bit for scales, not 16
    share = weight_seconds(NF4_CUT, TWO_NODES, 1000) / weight_seconds(ZERO3, TWO_NODES, 1000)
    assert share == pytest.approx(4.125 / 16, rel=1e-3)
    assert weight_seconds(ZERO3, Cluster(1, 1.0), 1000) == 0


def test_the_rest_of_a_step_by_hand():
    assert compute_seconds(1e9, 1000, 1e12) == 4.0
    assert compute_seconds(1e9, 1000, 1e12, checkpointing=True) == 6.0
    # 4 bytes, there and back, three quarters each, over a link of 4
    assert adapter_seconds(TWO_NODES, 100) == pytest.approx(2 * 0.75 * 400 / 4)
    assert step_seconds(compute=3.0, weights=2.0, adapter=0.5) == 3.5
    assert step_seconds(compute=2.0, weights=3.0, adapter=0.5) == 3.5


@pytest.mark.parametrize("plan", [ZERO3, HPZ, NF4_CUT])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_so_many_tokens_hide_the_gathers_of_a_base_of_any_size(plan, checkpointing):
    tokens = hiding_tokens(plan, TWO_NODES, flops=50.0)
    for parameters in (10.0, 7e9):
        compute = compute_seconds(parameters, tokens, 50.0, checkpointing)
        assert compute == pytest.approx(weight_seconds(plan, TWO_NODES, parameters, checkpointing))


def test_the_simplest_of_equals_is_chosen():
    assert chosen({BF16: 1.05, NF4: 1.0}) is BF16
    assert chosen({ZERO3: 1.2, HPZ: 1.05, NF4: 1.0}) is HPZ
    assert chosen({}) is None


def test_memory_of_a_second_copy_and_of_loading():
    cluster = MACHINES[0].cluster(64)
    needs, quantised = needs_whole("70B", "none"), needs_whole("70B", "nf4")
    extra = memory_of(HPZ, cluster, needs) - memory_of(ZERO3, cluster, needs)
    assert extra == needs.weights / 8
    # sliced it would be less, but each rank reads all of it first
    assert memory_of(NF4_CUT, cluster, quantised) == quantised.weights
    assert memory_of(BF16, cluster, needs) == needs.total


def test_two_ranks_as_modelled():
    """Of the benchmark's own rows: which computing, link and plan a row is compared with."""
    found = {
        "base": {"parameters": 1000},
        "timed": [
            {"ranks": 1, "megabits": 0},
            {"ranks": 2, "megabits": 0, "gather_bytes_per_second": 9000.0},
            {"ranks": 2, "megabits": 7, "gather_bytes_per_second": 400.0},
            {"ranks": 2, "megabits": 7, "gather_bytes_per_second": 500.0},
        ],
    }
    row = {"ranks": 2, "megabits": 7, "computing_seconds": 3.0}
    # two gathers of 2,000 bytes, half of them over the link
    assert modelled(found, {**row, "variant": "ZeRO-3"}) == pytest.approx((4.0, 7.0))
    assert modelled(found, {**row, "variant": "FSDP2"}) == pytest.approx((4.0, 7.0))
    assert modelled(found, {**row, "variant": "replicated"}) == (3.0, 3.0)
    slower = {**row, "computing_seconds": 5.0}
    assert modelled(found, {**slower, "variant": "ZeRO-3"}) == pytest.approx((5.0, 9.0))


def test_the_page_shows_what_the_commands_print():
    page = (ROOT / "docs" / "scaling.md").read_text("utf-8")
    found = json.loads(RESULT.read_text())
    for lines in (choices(), break_even(), timed(found), counted(found), in_words(found)):
        assert "\n".join(lines) in page


def test_each_plan_names_a_configuration_that_is_shipped():
    for plan in PLANS:
        assert isinstance(plan, Plan)
        assert plan.config == "none" or (ROOT / "ds_configs" / plan.config).is_file()
    assert HPZ.config == "zero3_multinode.json"


def test_only_the_cable_needs_root(monkeypatch):
    """What fails behind it, as a full disk, is told as what it is."""
    monkeypatch.setattr(links, "_run", lambda *command: None)
    with pytest.raises(OSError, match="No space left"), links.cabled_nodes():
        raise OSError(28, "No space left on device")

    def refuse(*command):
        raise PermissionError("no")

    monkeypatch.setattr(links, "_run", refuse)
    with pytest.raises(SystemExit, match="root and iproute2"), links.cabled_nodes():
        pass
