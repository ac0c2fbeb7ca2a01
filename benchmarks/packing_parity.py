"""Packed against padded, for every supported architecture: differences of loss and gradients.

python -m benchmarks.packing_parity
"""

import json
import random
from typing import Any

import torch
import torch.nn.functional as F

from adept_llm.adapters import AdeptConfig, get_adapter, inject_adapter
from adept_llm.packing import PaddedCollator, SharedPrefixCollator, use_packed_attention
from adept_llm.tasks import Encoded
from benchmarks.architectures import ARCHITECTURES, VOCAB, small_model

# Gemma-2 soft-caps its attention and is padded always
PACKED = [name for name in ARCHITECTURES if name != "gemma2"]
Run = tuple[float, dict[str, torch.Tensor]]


def make_examples(lengths: list[tuple[int, int]], seed: int = 0) -> list[Encoded]:
    """Random examples with these numbers of (prompt, target) tokens."""
    rng = random.Random(seed)

    def ids(n: int) -> list[int]:
        return [rng.randrange(3, VOCAB) for _ in range(n)]

    return [Encoded(ids(p), ids(t), str(i), -1, 0) for i, (p, t) in enumerate(lengths)]


def adapted(
    name: str, method: str = "adept", m: int = 5, dtype: torch.dtype = torch.float32
) -> Any:
    """A small model with an adapter whose values are far from their start."""
    rank = None if method == "prompt_tuning" else 3
    config = AdeptConfig(method, m, rank, offset_positions=6)
    model = inject_adapter(small_model(name, dtype), config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in get_adapter(model).trained_parameters().values():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def loss_and_gradients(model: Any, collator: Any, examples: list[Encoded]) -> Run:
    """Mean loss over target tokens, and the gradient of each trained parameter."""
    batch = collator(examples)
    labels, _, _ = (batch.pop(name) for name in ("labels", "example_ids", "num_text_tokens"))
    model.zero_grad()
    logits = model(**batch, use_cache=False).logits
    loss = F.cross_entropy(logits.flatten(0, -2).float(), labels.flatten())
    loss.backward()
    parameters = get_adapter(model).trained_parameters()
    return loss.item(), {n: p.grad.clone() for n, p in parameters.items() if p.grad is not None}


def both(model: Any, examples: list[Encoded]) -> tuple[Run, Run]:
    """The padded run, then the packed one."""
    ids = get_adapter(model).virtual_token_ids
    padded = loss_and_gradients(model, PaddedCollator(ids, 0), examples)
    use_packed_attention(model)
    return padded, loss_and_gradients(model, SharedPrefixCollator(ids), examples)


def main() -> None:
    """Print one JSON line for each architecture and method."""
    examples = make_examples([(3, 2), (9, 1), (1, 4), (6, 3)])
    for name in PACKED:
        for method in ("adept", "dept", "prompt_tuning"):
            padded, packed = both(adapted(name, method), examples)
            worst = max(((packed[1][n] - g).norm() / g.norm()).item() for n, g in padded[1].items())
            line = {
                "architecture": name,
                "method": method,
                "loss": padded[0],
                "relative_loss_difference": abs(packed[0] - padded[0]) / padded[0],
                "worst_relative_gradient_difference": worst,
            }
            print(json.dumps(line))


if __name__ == "__main__":
    main()
