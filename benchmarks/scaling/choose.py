"""What to choose for a base and a number of GPUs: tables in Markdown, as docs/scaling.md has them.

python -m benchmarks.scaling.choose
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import torch

from adept_llm.adapters import AdeptConfig
from adept_llm.base.memory import GIB, USABLE, Needs, estimate
from adept_llm.base.shapes import known_shape
from adept_llm.base.sharding import Sharding
from benchmarks.scaling.model import (
    PLANS,
    Cluster,
    Plan,
    adapter_seconds,
    compute_seconds,
    hiding_tokens,
    step_seconds,
    weight_seconds,
)

TEXTS, TOKENS = 32, 256
GIGABIT = 1e9 / 8
# within so much of the fastest, the plan that comes first is taken
NEAR = 1.1
BASES = {"7B": "Llama-2-7b-hf", "13B": "Llama-2-13b-hf", "70B": "Llama-2-70b-hf"}


@dataclass(frozen=True)
class Machine:
    """What the tables assume of a kind of GPU and its links.

    Attributes:
        name: For the tables.
        memory: GiB of a GPU.
        flops: Operations a second that are reached.
        inside: As in `Cluster`.
        between: As in `Cluster`.
    """

    name: str
    memory: float
    flops: float
    inside: float
    between: float

    def cluster(self, ranks: int) -> Cluster:
        """So many GPUs, 8 to a node."""
        return Cluster(min(ranks, 8), self.inside, max(1, ranks // 8), self.between)


MACHINES = (
    Machine("80 GiB, NVLink, InfiniBand", 80, 400e12, 450e9, 200 * GIGABIT),
    Machine("24 GiB, PCIe, Ethernet", 24, 60e12, 25e9, 25 * GIGABIT),
)


@cache
def needs_whole(base: str, quantization: str) -> Needs:
    """Memory and counts with gradient checkpointing, nothing sharded."""
    config = known_shape(f"meta-llama/{BASES[base]}")
    assert config is not None
    found = estimate(
        config, AdeptConfig("adept"), torch.bfloat16, quantization, TEXTS, TOKENS,
        gradient_checkpointing=True,
    )  # fmt: skip
    assert found is not None
    return found


def memory_of(plan: Plan, cluster: Cluster, needs: Needs) -> float:
    """Bytes of one rank at its peak."""
    sharding = Sharding(cluster.ranks, 3 if plan.sharded else 0)
    weights = float(sharding.held(needs.weights, needs.frozen_parameters))
    if plan.kept_in_node:
        weights += needs.weights / cluster.gpus
    # each rank loads all of a quantised base before it is cut
    loading = needs.weights if plan.quantization != "none" else 0
    return max(loading, weights + needs.adapter + needs.activations)


def fitting(base: str, machine: Machine, ranks: int) -> Iterator[tuple[Plan, float]]:
    """Plans whose memory suffices, with the seconds of a step."""
    cluster = machine.cluster(ranks)
    for plan in PLANS:
        if (plan.sharded and ranks == 1) or (plan.kept_in_node and cluster.nodes == 1):
            continue
        needs = needs_whole(base, plan.quantization)
        if memory_of(plan, cluster, needs) > machine.memory * GIB * USABLE:
            continue
        parameters = needs.frozen_parameters
        compute = compute_seconds(parameters, TEXTS * TOKENS, machine.flops, checkpointing=True)
        weights = weight_seconds(plan, cluster, parameters, checkpointing=True)
        adapter = adapter_seconds(cluster, needs.trained_parameters)
        yield plan, step_seconds(compute, weights, adapter)


def chosen(found: dict[Plan, float]) -> Plan | None:
    """The first plan that is about as good as the fastest, None where nothing fits."""
    return next((plan for plan, s in found.items() if s <= NEAR * min(found.values())), None)


def choices() -> Iterator[str]:
    """Seconds of a step of each plan that fits, and which to take."""
    yield f"| base | GPUs | {' | '.join(plan.name for plan in PLANS)} | take | with |"
    yield "| --- " * (4 + len(PLANS)) + "|"
    for machine in MACHINES:
        yield f"| **{machine.name}** " + "| " * (3 + len(PLANS)) + "|"
        for base in BASES:
            for ranks in (1, 8, 64):
                found = dict(fitting(base, machine, ranks))
                cells = [f"{found[p]:.1f} s" if p in found else "–" for p in PLANS]
                best = chosen(found)
                told = [best.name, best.config] if best else ["offload", "zero3_offload_cpu.json"]
                yield f"| {base} | {ranks} | {' | '.join([*cells, *told])} |"


def break_even() -> Iterator[str]:
    """Tokens of a micro-batch from which on gathers hide behind the computation."""
    sharded = [plan for plan in PLANS if plan.sharded]
    yield f"| GPUs | {' | '.join(plan.name for plan in sharded)} |"
    yield "| --- " * (1 + len(sharded)) + "|"
    for machine in MACHINES:
        for ranks in (8, 64):
            cluster = machine.cluster(ranks)
            cells = [f"{hiding_tokens(plan, cluster, machine.flops):,.0f}" for plan in sharded]
            yield f"| {ranks}: {machine.name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    print("\n".join([*choices(), "", *break_even()]))
