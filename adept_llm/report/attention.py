"""How much of its attention an answer pays to the prompt P, layer by layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from adept_llm.adapters import embedding_device, virtual_token_ids
from adept_llm.data import Encoded


@dataclass(frozen=True)
class Attention:
    """What was found.

    Attributes:
        shares: Of each layer, the share of attention that the position from which the answer is
            predicted pays to P, mean over heads and rows.
        even: The share if it were spread evenly, mean over rows.
        rows: How many were read.
    """

    shares: tuple[float, ...]
    even: float
    rows: int


@torch.no_grad()
def attention_to_prompt(model: Any, rows: Sequence[Encoded]) -> Attention | None:
    """Read rows one by one with attention that can be looked at; None without virtual tokens.

    Args:
        model: An injected model; its attention is computed eagerly from then on.
        rows: At least one.
    """
    virtual = virtual_token_ids(model)
    if not virtual:
        return None
    model.eval().set_attn_implementation("eager")
    found, even = [], []
    for row in rows:
        ids = torch.tensor([virtual + row.prompt_ids], device=embedding_device(model))
        out = model(ids, output_attentions=True, logits_to_keep=1, use_cache=False)
        # of each layer [1, heads, L, columns]; a sliding layer may show the last columns alone
        layers = [weights[0, :, -1] for weights in out.attentions]
        hidden = [ids.shape[1] - weights.shape[-1] for weights in layers]
        found.append(
            torch.stack(
                [
                    weights[:, : max(0, len(virtual) - before)].float().sum(-1).mean()
                    for weights, before in zip(layers, hidden, strict=True)
                ]
            )
        )
        even.append(len(virtual) / ids.shape[1])
    shares = torch.stack(found).mean(0)
    return Attention(tuple(shares.tolist()), sum(even) / len(even), len(rows))
