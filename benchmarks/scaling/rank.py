"""One rank of the benchmark; it prints JSON.

A random Llama, frozen, with an ADePT adapter, is trained on one batch in a plain loop. What
DeepSpeed keeps whole, prefetches and never cuts is a number of parameters by default; these
numbers are made as much smaller as this base is than a 7B, so that its step does what a 7B's does.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

import adept_llm
from adept_llm.base.loading import load_model
from adept_llm.data import Encoded
from adept_llm.training.launch import leave_at_once
from benchmarks.scaling.links import received, throttle

CONFIGS = Path(__file__).parents[2] / "ds_configs"
LIKE = 6_738_000_000
# DeepSpeed's defaults, in parameters
LIMITS = {
    "stage3_max_live_parameters": 1e9,
    "stage3_max_reuse_distance": 1e9,
    "stage3_prefetch_bucket_size": 5e7,
    "stage3_param_persistence_threshold": 1e5,
}
PROBE = 4_000_000
Step = Callable[[], None]


def main(job: dict[str, Any]) -> None:
    """Time steps at each rate of the link."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    alone = job["variant"] == "alone"
    if not alone:
        start_group(job["variant"])
    quantization = "nf4" if job["variant"].endswith("NF4") else "none"
    examples = texts(job["batch"], job["tokens"])
    model, whole = (tuned_model(job["base"], quantization, job["checkpointing"]) for _ in range(2))
    batch = adept_llm.make_batcher(model)(examples)
    step, apart = STEPS[job["variant"]](model, batch, job), plain(whole, batch, job)
    found = []
    for rate in job["megabits"]:
        if not alone:
            throttle(rate)
        found.append({"megabits": rate, **measured(step, apart, job["steps"], alone)})
    if os.environ["RANK"] == "0":
        print("\n" + json.dumps(found))
    if dist.is_initialized():
        dist.barrier()
    # a rank that closes its group waits now and then for one that has gone
    leave_at_once(0)


def tuned_model(base: str, quantization: str, checkpointing: bool) -> Any:
    """The frozen base with an adapter, in training."""
    model = load_model(base, None, "bfloat16", quantization)
    config = adept_llm.AdeptConfig("adept", num_virtual_tokens=20, bottleneck_size=39)
    model = adept_llm.inject_adapter(model, config)
    model.train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model


def start_group(variant: str) -> None:
    """Over gloo; DeepSpeed wants to start it by itself."""
    if "ZeRO-3" in variant:
        from adept_llm.compat.deepspeed import start_group_on_cpu

        start_group_on_cpu()
    else:
        dist.init_process_group("gloo")


def texts(count: int, tokens: int) -> list[Encoded]:
    """Random texts of one length."""
    ids = torch.randint(3, 2000, (count, tokens - 2)).tolist()
    return [Encoded(row, [5, 2], str(n), -1, 0) for n, row in enumerate(ids)]


def measured(step: Step, apart: Step, steps: int, alone: bool) -> dict[str, Any]:
    """Medians over pairs of a step and one that only computes, each of the slowest rank.

    In pairs, because other work on the machine slows both.
    """
    rate = None if alone else gather_rate()
    for _ in range(3):
        step()
        apart()
    pairs, arrived = [], 0
    for _ in range(steps):
        before = 0 if alone else received()
        both = [seconds_of(step, alone)]
        arrived += 0 if alone else received() - before
        pairs.append([*both, seconds_of(apart, alone)])
    slowest = torch.tensor(pairs)
    if not alone:
        dist.all_reduce(slowest, dist.ReduceOp.MAX)
    seconds, computing = slowest.median(0).values.tolist()
    found = {"seconds": seconds, "computing_seconds": computing, "pairs": slowest.tolist()}
    if not alone:
        found |= {"received_per_step": arrived / steps, "gather_bytes_per_second": rate}
    return found


def seconds_of(step: Step, alone: bool) -> float:
    """Of one step that all ranks begin together."""
    if not alone:
        dist.barrier()
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def gather_rate() -> float:
    """Bytes a second that a rank receives in a large all-gather and nothing else."""
    world = dist.get_world_size()
    own = torch.zeros(PROBE // world, dtype=torch.bfloat16)
    whole = [torch.empty_like(own) for _ in range(world)]
    seconds = []
    for _ in range(4):
        dist.barrier()
        start = time.perf_counter()
        dist.all_gather(whole, own)
        seconds.append(time.perf_counter() - start)
    return (world - 1) * own.nbytes / min(seconds[1:])


def loss_of(model: Any, batch: Any) -> Tensor:
    """Mean over the target tokens."""
    logits = model(**batch["inputs"], use_cache=False).logits
    return adept_llm.summed_loss(logits, batch["labels"]) / (batch["labels"] != -100).sum()


def plain(model: Any, batch: Any, job: dict[str, Any], inner: Any = None) -> Step:
    """AdamW, without or within DDP."""
    optimizer = torch.optim.AdamW(adept_llm.parameter_groups(inner or model, 0.01, 0.001))

    def step() -> None:
        loss_of(model, batch).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def replicated(model: Any, batch: Any, job: dict[str, Any]) -> Step:
    """The whole base on each rank; gradients of the adapter are averaged."""
    return plain(torch.nn.parallel.DistributedDataParallel(model), batch, job, model)


def zero3(model: Any, batch: Any, job: dict[str, Any]) -> Step:
    """A shipped configuration, with its limits made smaller as the base is."""
    import deepspeed

    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    config = json.loads((CONFIGS / "zero3.json").read_text())
    zero = config["zero_optimization"]
    zero |= {name: int(limit * frozen / LIKE) for name, limit in LIMITS.items()}
    if job["variant"] == "ZeRO-3, hpZ":
        zero["zero_hpz_partition_size"] = int(os.environ["LOCAL_WORLD_SIZE"])
    config |= {"train_micro_batch_size_per_gpu": job["batch"], "gradient_clipping": 1.0}
    config |= {"zero_allow_untested_optimizer": True, "zero_force_ds_cpu_optimizer": False}
    for name in ("train_batch_size", "gradient_accumulation_steps"):
        config.pop(name)
    optimizer = torch.optim.AdamW(adept_llm.parameter_groups(model, 0.01, 0.001))
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)

    def step() -> None:
        engine.backward(loss_of(engine, batch))
        engine.step()

    return step


def fsdp2(model: Any, batch: Any, job: dict[str, Any]) -> Step:
    """Each layer and the rest are cut; the adapter is not, its gradients are averaged."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    trained = [p for p in model.parameters() if p.requires_grad]
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh, ignored_params=set(trained))
    optimizer = torch.optim.AdamW(adept_llm.parameter_groups(model, 0.01, 0.001))

    def step() -> None:
        loss_of(model, batch).backward()
        for parameter in trained:
            dist.all_reduce(parameter.grad)
            parameter.grad /= dist.get_world_size()
        optimizer.step()
        optimizer.zero_grad()

    return step


STEPS: dict[str, Callable[[Any, Any, dict[str, Any]], Step]] = {
    "alone": plain,
    "replicated": replicated,
    "replicated NF4": replicated,
    "ZeRO-3": zero3,
    "ZeRO-3, hpZ": zero3,
    "FSDP2": fsdp2,
}

if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
