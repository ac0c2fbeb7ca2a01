"""A rank of a real DeepSpeed engine, and what compat.deepspeed finds in it; prints JSON.

python -m tests.compat.engine STAGE, or two ranks of it by torchrun
"""

import copy
import json
import os
import sys
from typing import Any

import torch
from torch import Tensor, nn

from adept_llm.compat import deepspeed as seam
from adept_llm.demo import MODEL
from adept_llm.training.launch import alone

BETAS, RATE = (0.9, 0.999), 0.1


class TwoLayers(nn.Module):
    """A frozen layer and a trained one, whose weight and bias are groups of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(4, 6)
        self.trained = nn.Linear(6, 3)
        self.frozen.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, 4] -> []."""
        return self.trained(torch.relu(self.frozen(x))).square().mean()


def optimizer_of(model: TwoLayers) -> torch.optim.AdamW:
    """Two groups, as the prompt and the offset are."""
    groups = [{"params": [model.trained.weight]}, {"params": [model.trained.bias]}]
    return torch.optim.AdamW(groups, lr=RATE, betas=BETAS)


def difference(found: Tensor | None, expected: Tensor) -> float:
    """Largest absolute difference; infinite for another shape."""
    if found is None or found.shape != expected.shape:
        return float("inf")
    return (found - expected).abs().max().item()


def trained(stage: int) -> dict[str, Any]:
    """Two steps by the engine and by plain AdamW, and what differs."""
    import deepspeed

    torch.manual_seed(0)
    model = TwoLayers()
    plain, frozen_weight = copy.deepcopy(model), model.frozen.weight.clone()
    config = {
        "train_micro_batch_size_per_gpu": 5, "gradient_clipping": 0.0,
        "zero_allow_untested_optimizer": True, "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": {"stage": stage, "stage3_param_persistence_threshold": 0},
    }  # fmt: skip
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer_of(model), config=config)
    reference, x = optimizer_of(plain), torch.randn(5, 4)
    for _ in range(2):
        engine.backward(engine(x))
        engine.step()
        reference.zero_grad()
        plain(x).backward()
        reference.step()

    weight, bias = model.trained.weight, model.trained.bias
    pairs = [(weight, plain.trained.weight), (bias, plain.trained.bias)]
    partitions = seam.partitions(engine)
    try:
        seam.moment_of(bias, "exp_avg")
        links = True
    except ValueError:
        links = False
    seam.link_moments(engine)
    with seam.gathered(model.frozen.weight) as whole:
        seen = difference(whole, frozen_weight)
    found = {
        "links by itself": links,
        "sharded": seam.is_sharded(model.frozen.weight),
        "shape": list(seam.full_shape(model.frozen.weight)),
        "bytes": seam.bytes_held(model.frozen.weight),
        "gathered": seen,
        "optimizer": type(seam.inner_optimizer(engine)).__name__,
        "partitions": sum(flat.numel() for flat, _ in partitions),
        "steps": [float(state["step"]) for _, state in partitions],
        "master": max(difference(seam.master_of(p), q) for p, q in pairs),
        "moments": max(
            difference(seam.moment_of(p, key), reference.state[q][key])
            for p, q in pairs
            for key in ("exp_avg", "exp_avg_sq")
        ),
    }
    return found | set_all(engine, pairs)


def set_all(engine: Any, pairs: list[tuple[Any, Tensor]]) -> dict[str, float]:
    """What differs where values were written and read again."""
    found: dict[str, list[float]] = {"set whole": [], "set master": [], "set moment": []}
    for parameter, like in pairs:
        written = torch.arange(float(like.numel())).view(like.shape)
        seam.set_master(engine, parameter, written)
        seam.set_moment(engine, parameter, "exp_avg", written + 1)
        seam.set_whole(parameter, written + 2)
        with seam.gathered(parameter) as whole:
            found["set whole"].append(difference(whole, written + 2))
        found["set master"].append(difference(seam.master_of(parameter), written))
        moment = seam.moment_of(parameter, "exp_avg")
        found["set moment"].append(difference(moment, written + 1))
    return {name: max(values) for name, values in found.items()}


def loaded() -> list[str]:
    """Types of a base that is read in slices: as it comes, and as bfloat16."""
    from transformers import AutoModelForCausalLM
    from transformers.integrations import HfDeepSpeedConfig

    found = [str(seam.shards_weights())]
    kept = HfDeepSpeedConfig(
        {"train_micro_batch_size_per_gpu": 1, "zero_optimization": {"stage": 3}}
    )
    found.append(str(seam.shards_weights()))
    for dtype in (torch.float32, torch.bfloat16):
        with seam.sharded_as(dtype):
            model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.bfloat16)
        weight = model.get_input_embeddings().weight
        assert seam.is_sharded(weight)
        found.append(str(weight.ds_tensor.dtype).removeprefix("torch."))
    assert "bf16" not in kept.config
    return found


def main() -> None:
    """Print what was found."""
    if "RANK" not in os.environ:
        os.environ.update(alone())
    seam.start_group_on_cpu()
    from deepspeed.comm import comm

    stage = int(sys.argv[1])
    found = trained(stage)
    found["group"] = torch.distributed.get_backend()
    found["own kernel"] = comm.cdb.shm_comm_op is not None
    if stage == 3 and torch.distributed.get_world_size() == 1:
        found["loaded"] = loaded()
    # in one write, since ranks share a pipe
    print(json.dumps(found) + "\n", end="", flush=True)


if __name__ == "__main__":
    main()
