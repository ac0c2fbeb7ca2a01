"""Seconds of a step of a frozen base, from the rates of its links.

A frozen base has no gradients to send; what crosses a link is its weights, where they are cut, and
the adapter's gradients. Weights are gathered while the layers before compute, so the longer of the
two counts.
"""

from dataclasses import dataclass

from adept_llm.base.memory import BYTES_PER_LINEAR_WEIGHT


@dataclass(frozen=True)
class Cluster:
    """Nodes that are alike. Rates are in bytes a second, one way.

    Attributes:
        gpus: Of a node.
        inside: What a GPU receives from another of its node.
        nodes: How many.
        between: What a node receives from the others.
    """

    gpus: int
    inside: float
    nodes: int = 1
    between: float = float("inf")

    @property
    def ranks(self) -> int:
        """GPUs of all nodes."""
        return self.gpus * self.nodes

    @property
    def around(self) -> float:
        """Rate of a ring through all GPUs, which has its slowest link's."""
        return self.inside if self.nodes == 1 else min(self.inside, self.between)


@dataclass(frozen=True)
class Plan:
    """Where the frozen weights lie.

    Attributes:
        name: For tables.
        quantization: none or nf4.
        sharded: Cut over all GPUs (ZeRO-3), else whole on each.
        kept_in_node: Gathered within the node, where a second copy is spread (hpZ).
        config: The configuration that does it.
    """

    name: str
    quantization: str = "none"
    sharded: bool = False
    kept_in_node: bool = False
    config: str = "none"

    @property
    def bytes_per_weight(self) -> float:
        """Of a base in bfloat16."""
        return BYTES_PER_LINEAR_WEIGHT.get(self.quantization, 2.0)


# the simplest first; in 4 bits the base answers slightly otherwise
PLANS = (
    Plan("replicated bf16"),
    Plan("ZeRO-3", sharded=True, config="zero3.json"),
    Plan("ZeRO-3 with hpZ", sharded=True, kept_in_node=True, config="zero3_multinode.json"),
    Plan("replicated NF4", "nf4"),
    Plan("ZeRO-3 of NF4", "nf4", sharded=True, config="zero3.json"),
)


def compute_seconds(
    parameters: float, tokens: float, flops: float, checkpointing: bool = False
) -> float:
    """Of a frozen base: forward, the gradients of the inputs, and the forward pass once more.

    Args:
        parameters: of the base.
        tokens: of this GPU's micro-batch.
        flops: operations a second that are reached, not the data sheet's.
        checkpointing: activations are computed again.
    """
    return (6 if checkpointing else 4) * parameters * tokens / flops


def gather_seconds(size: float, ranks: int, rate: float) -> float:
    """Of a ring all-gather: each rank receives what it does not hold, over the slowest link.

    Args:
        size: bytes of the whole.
        ranks: that hold a slice each.
        rate: bytes a second.
    """
    return (ranks - 1) / ranks * size / rate


def weight_seconds(
    plan: Plan, cluster: Cluster, parameters: float, checkpointing: bool = False
) -> float:
    """Gathering the weights of all layers in each pass: forward, once more for it, backward.

    A frozen weight's second copy (hpZ) never expires, so after the first step nothing crosses
    between nodes.
    """
    if not plan.sharded:
        return 0.0
    size = (3 if checkpointing else 2) * parameters * plan.bytes_per_weight
    if plan.kept_in_node:
        return gather_seconds(size, cluster.gpus, cluster.inside)
    return gather_seconds(size, cluster.ranks, cluster.around)


def adapter_seconds(cluster: Cluster, trained: float) -> float:
    """An all-reduce of the adapter's fp32 gradients: a reduce-scatter and a gather."""
    return 2 * gather_seconds(4 * trained, cluster.ranks, cluster.around)


def step_seconds(compute: float, weights: float, adapter: float = 0.0) -> float:
    """Weights travel while layers compute; the adapter's gradients come last.

    Args:
        compute: from `compute_seconds`.
        weights: from `weight_seconds`.
        adapter: from `adapter_seconds`.
    """
    return max(compute, weights) + adapter


def hiding_tokens(plan: Plan, cluster: Cluster, flops: float) -> float:
    """Tokens of a micro-batch from which on gathers cost nothing.

    The base's size cancels, and so does checkpointing: half as many passes again, and gathers.
    """
    return weight_seconds(plan, cluster, 1.0) / compute_seconds(1.0, 1.0, flops)
