"""Starts of a plain prompt: small functions that return rows [m, d] in the table's units."""

from collections.abc import Callable

import torch
from torch import Tensor

from adept_llm.errors import InputError


def vocab_rows(table: Tensor, num_tokens: int, generator: torch.Generator) -> Tensor:
    """Rows of E drawn from the vocabulary, without replacement as long as there are enough."""
    size = table.shape[0]
    picks = [torch.randperm(size, generator=generator) for _ in range(-(-num_tokens // size))]
    index = torch.cat(picks)[:num_tokens] if picks else torch.empty(0, dtype=torch.long)
    return table[index.to(table.device)].float()


def text_rows(
    table: Tensor, num_tokens: int, text: str, encode: Callable[[str], list[int]]
) -> Tensor:
    """Embeddings of a text's tokens, repeated or cut to m rows.

    Raises:
        InputError: if the text has no token.
    """
    ids = encode(text)
    if not ids:
        raise InputError(f"prompt_init_text: {text!r} has no token; give a sentence of the task")
    repeated = (ids * (-(-num_tokens // len(ids))))[:num_tokens]
    return table[torch.tensor(repeated, dtype=torch.long, device=table.device)].float()


def normal_rows(
    num_tokens: int, hidden_size: int, std: float, generator: torch.Generator
) -> Tensor:
    """Rows from N(0, std^2).

    Args:
        num_tokens: m.
        hidden_size: d.
        std: the table's own, so that they look like words, or 1 as nn.Embedding draws.
        generator: on the CPU.
    """
    return torch.randn(num_tokens, hidden_size, generator=generator) * std


def transferred_rows(prompt: Tensor, shape: tuple[int, int]) -> Tensor:
    """The prompt of another adapter, of another task on the same width.

    Args:
        prompt: its rows.
        shape: (m, d), as needed.

    Raises:
        InputError: if they are not of this shape.
    """
    if prompt.shape != shape:
        raise InputError(
            f"prompt_init_adapter: has a prompt of shape {tuple(prompt.shape)}, needed is {shape}; "
            f"set --num_virtual_tokens {prompt.shape[0]} or take an adapter of this width"
        )
    return prompt
