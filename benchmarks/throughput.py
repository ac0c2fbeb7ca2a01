r"""Training examples per second, beside PEFT's and the frozen products that no method can save.

    python -m benchmarks.throughput [--model DIR] [--data_dir SST2] [--dtype bfloat16] \
        [--batch 16] [--rounds 8] > benchmarks/results/throughput.json

One process; a round takes one batch through all peers in turn, and the median of the rounds counts.
A step is collating, forward, backward and the optimizer's step. The frozen products of a step with
T tokens are those of all linear layers, forward and backward by their inputs, and nothing else.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import transformers

from adept_llm.adapters import AdeptConfig, inject_adapter
from adept_llm.data import Encoded
from adept_llm.packing import attention, make_batcher, packed_batch, token_losses
from adept_llm.packing.attention import use_packed_attention
from adept_llm.packing.compiled import compile_layers
from adept_llm.packing.kernels import choose_kernel, sdpa_attention
from benchmarks.bases import arguments, base_model, name_of, rows_for, stock_batch
from benchmarks.facts import facts
from benchmarks.on_cpu import hide_gpus

Step = Callable[[list[Encoded]], None]
LORA_RANK = 16
WARM = 2  # rounds
# r of ADePT by m: as many numbers in all as 100 virtual tokens have, but for m = 100, which has
# the prompt of prompt tuning and the network of m = 20
SIZES = {0: 49, 20: 39, 100: 39}


def ours(
    base: Any, m: int, layout: str, kernel: Any = choose_kernel, compiled: bool = False
) -> Step:
    """ADePT with m virtual tokens, packed or padded."""
    inject_adapter(base, AdeptConfig("adept", m, SIZES[m]))
    batcher = make_batcher(base, layout)
    optimizer = _optimizer(base)
    if compiled:
        compile_layers(base)

    def step(examples: list[Encoded]) -> None:
        vars(attention)["choose_kernel"] = kernel
        batch = batcher(examples)
        _advance(optimizer, token_losses(base, batch["inputs"], batch["labels"]).mean())

    return step


def peft_prompt_tuning(base: Any, m: int) -> Step:
    """PEFT's PromptTuning with dynamic padding."""
    import peft

    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=m)
    return _stock(peft.get_peft_model(base, config))


def peft_lora(base: Any) -> Step:
    """PEFT's LoRA on queries and values with dynamic padding."""
    return _stock(_with_lora(base))


def peft_lora_without_padding(base: Any) -> Step:
    """The same on one packed row, with this project's attention and head."""
    use_packed_attention(base)
    model = _with_lora(base)
    optimizer = _optimizer(model)

    def step(examples: list[Encoded]) -> None:
        vars(attention)["choose_kernel"] = choose_kernel
        batch = packed_batch([], examples)
        logits = model(**batch["inputs"], use_cache=False).logits[0]
        loss = torch.nn.functional.cross_entropy(logits.float(), batch["labels"])
        _advance(optimizer, loss)

    return step


def _with_lora(base: Any) -> Any:
    import peft

    return peft.get_peft_model(
        base, peft.LoraConfig(r=LORA_RANK, target_modules=["q_proj", "v_proj"])
    )


def _stock(model: Any) -> Step:
    optimizer = _optimizer(model)

    def step(examples: list[Encoded]) -> None:
        _advance(optimizer, model(**stock_batch(examples), use_cache=False).loss)

    return step


def _optimizer(model: Any) -> torch.optim.Optimizer:
    model.train()
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)


def _advance(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    optimizer.zero_grad()


class FrozenProducts:
    """The matrix products of a step's tokens, with each layer's own weights."""

    def __init__(self, base: Any) -> None:
        self.layers = [
            module.weight
            for module in base.get_decoder().modules()
            if isinstance(module, torch.nn.Linear)
        ]
        self.head = base.get_output_embeddings().weight

    def __call__(self, tokens: int, targets: int) -> None:
        """Forward and backward by the inputs: 4 FLOP a parameter and token."""
        with torch.no_grad():
            for weights, rows in ((self.layers, tokens), ([self.head], targets)):
                for weight in weights:
                    inputs = torch.zeros(rows, weight.shape[1], dtype=weight.dtype)
                    outputs = torch.nn.functional.linear(inputs, weight)
                    torch.mm(outputs, weight)


def packed_sizes(m: int, examples: Sequence[Encoded]) -> tuple[int, int]:
    """Tokens and targets of a packed row."""
    targets = sum(len(e.target_ids) for e in examples)
    return m + sum(len(e.prompt_ids) - 1 for e in examples) + targets, targets


def measure(peers: dict[str, Step], batches: list[list[Encoded]]) -> dict[str, list[float]]:
    """Seconds of each round by peer; the first two, in which layers are compiled, do not count."""
    taken: dict[str, list[float]] = {name: [] for name in peers}
    for n, batch in enumerate(batches):
        for name, step in peers.items():
            start = time.perf_counter()
            step(batch)
            if n >= WARM:
                taken[name].append(time.perf_counter() - start)
    return taken


def main() -> None:
    """Print one JSON object."""
    hide_gpus()
    parser = arguments(__doc__)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=8)
    args = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    examples = rows_for(args.model, args.data_dir, (args.rounds + WARM) * args.batch)
    batches = [examples[n : n + args.batch] for n in range(0, len(examples), args.batch)]

    def base() -> Any:
        return base_model(args.model, getattr(torch, args.dtype))

    products = FrozenProducts(base())
    peers: dict[str, Step] = {
        "peft lora": peft_lora(base()),
        "peft lora, without padding": peft_lora_without_padding(base()),
    }
    for m in SIZES:
        peers[f"adept {m}"] = ours(base(), m, "shared_prefix")
        peers[f"adept {m}, compiled"] = ours(base(), m, "shared_prefix", compiled=True)
        peers[f"products {m}"] = lambda batch, m=m: products(*packed_sizes(m, batch))  # type: ignore[misc]
    for m in (20, 100):
        peers[f"adept {m}, padded"] = ours(base(), m, "padded")
        peers[f"adept {m}, packed, SDPA"] = ours(
            base(), m, "shared_prefix", lambda query, layout, dropout: sdpa_attention
        )
        peers[f"peft prompt tuning {m}"] = peft_prompt_tuning(base(), m)
    taken = {name: statistics.median(t) for name, t in measure(peers, batches).items()}
    speed = {name: round(args.batch / t, 2) for name, t in taken.items() if "products" not in name}
    print(json.dumps({**facts(), **_sizes(args, batches), **_ratios(taken, speed)}, indent=2))


def _sizes(args: argparse.Namespace, batches: list[list[Encoded]]) -> dict[str, Any]:
    lengths = [len(e.prompt_ids) + len(e.target_ids) for batch in batches for e in batch]
    return {
        "model": name_of(args.model),
        "dtype": args.dtype,
        "batch": args.batch,
        "rounds": args.rounds,
        "mean_tokens": round(statistics.mean(lengths), 1),
        "longest": max(lengths),
    }


def _ratios(taken: dict[str, float], speed: dict[str, float]) -> dict[str, Any]:
    """Medians and what they say: the goals of this project are ratios."""

    def times(peer: str, ours: str, sizes: Sequence[int]) -> dict[int, float]:
        pairs = {m: (peer.format(m=m), ours.format(m=m)) for m in sizes}
        return {m: round(taken[theirs] / taken[own], 3) for m, (theirs, own) in pairs.items()}

    def beside_peers(ours: str) -> dict[str, Any]:
        return {
            "share_of_frozen_products": times("products {m}", ours, tuple(SIZES)),
            "faster_than_peft_prompt_tuning": times("peft prompt tuning {m}", ours, (20, 100)),
            "faster_than_peft_lora": times("peft lora", ours, tuple(SIZES)),
            "faster_than_peft_lora_without_padding": times(
                "peft lora, without padding", ours, tuple(SIZES)
            ),
        }

    return {
        "examples_per_second": speed,
        **beside_peers("adept {m}"),
        "faster_than_padded": times("adept {m}, padded", "adept {m}", (20, 100)),
        "faster_than_sdpa_kernel": times("adept {m}, packed, SDPA", "adept {m}", (20, 100)),
        "compiled": beside_peers("adept {m}, compiled"),
    }


if __name__ == "__main__":
    main()
