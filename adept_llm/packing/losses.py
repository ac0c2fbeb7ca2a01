"""Losses of target tokens; logits are never held whole where there are many of them.

N targets over a vocabulary of V give N V logits, and a step holds three fp32 copies of them: 10 GB
for 16 answers of 400 tokens under Llama-3's 128,256 words. The base is frozen, so the head has no
gradient of its own: a chunk of targets at a time, the slopes of its losses by the hidden states are
all that has to be kept, [N, d].

torch 2.13's `linear_cross_entropy` and Liger's kernel compute the same from the head's weight. Here
the head is called as the model calls it, so that sharded and quantised heads work as well.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adept_llm.adapters import virtual_token_ids
from adept_llm.compat.deepspeed import gathered, is_sharded
from adept_llm.packing.collator import IGNORED

MOST_LOGITS = 2**25  # computed at a time: 128 MiB in fp32

Head = Callable[[Tensor], Tensor]
_plain: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def summed_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Sum of the targets' cross-entropies in nats, in fp32.

    Args:
        logits: [.., N, V], as a model gives them for a batch's inputs.
        labels: [.., N], the batch's labels; -100 is passed over.
    """
    return F.cross_entropy(
        logits.flatten(0, -2).float(), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )


def token_losses(model: Any, inputs: Mapping[str, Any], labels: Tensor) -> Tensor:
    """Cross-entropy of each target in nats, in fp32; peak memory does not grow with N V.

    Args:
        model: A model whose head is frozen, or what wraps it to compute on several ranks.
        inputs: A batch's, with `logits_to_keep`; on the model's device.
        labels: [.., N], the batch's labels on that device; -100 is passed over.

    Returns:
        [.., N], zero where there is no target.
    """
    own = getattr(model, "module", model)
    vocabulary = own.config.get_text_config().vocab_size
    # ranks that hold a slice each must gather alike, whatever the size of their batches
    sharded = is_sharded(own.get_output_embeddings().weight)
    few = labels.numel() * vocabulary <= MOST_LOGITS and not sharded
    if few or not has_plain_head(own, inputs["input_ids"].device):
        return _losses(model(**inputs, use_cache=False).logits, labels)
    hidden, _ = _hidden_states(model, own, inputs)
    hidden = hidden[:, inputs["logits_to_keep"]].reshape(labels.numel(), -1)
    rows = max(1, MOST_LOGITS // vocabulary)
    with _head(own) as head:
        return chunked_losses(hidden, labels.flatten(), head, rows).view_as(labels)


def chunked_losses(hidden: Tensor, labels: Tensor, head: Head, rows: int) -> Tensor:
    """Cross-entropies [N] of hidden states [N, d] under a frozen head, so many rows at a time."""
    found: Tensor = _Chunked.apply(hidden, labels, head, rows)  # type: ignore[no-untyped-call]
    return found


def _losses(logits: Tensor, labels: Tensor) -> Tensor:
    """[.., N, V] and [.., N] -> [.., N]."""
    flat = logits.flatten(0, -2).float()
    found = F.cross_entropy(flat, labels.flatten(), ignore_index=IGNORED, reduction="none")
    return found.view_as(labels)


class _Chunked(torch.autograd.Function):
    """The losses, with their slopes by the hidden states in place of the logits."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, labels: Tensor, head: Head, rows: int) -> Tensor:
        found: list[Tensor] = []
        slopes: list[Tensor] = []
        for start in range(0, len(hidden), rows):
            chunk, targets = hidden[start : start + rows], labels[start : start + rows]
            with torch.set_grad_enabled(ctx.needs_input_grad[0]):
                chunk = chunk.detach().requires_grad_(ctx.needs_input_grad[0])
                losses = _losses(head(chunk), targets)
                if ctx.needs_input_grad[0]:
                    slopes += torch.autograd.grad(losses.sum(), chunk)
            found.append(losses.detach())
        if slopes:
            ctx.save_for_backward(torch.cat(slopes))
        return torch.cat(found)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        # a loss depends on its own hidden state alone
        (by_hidden,) = ctx.saved_tensors
        return (slopes[0][:, None] * by_hidden).to(by_hidden.dtype), None, None, None


def _hidden_states(model: Any, own: Any, inputs: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """What the head could read, [B, L, d], and the logits of the last column, [B, 1, V]."""
    found: list[Tensor] = []
    with own.get_decoder().register_forward_hook(lambda *call: found.append(call[-1][0])):
        last = torch.tensor([-1], device=inputs["input_ids"].device)
        logits = model(**{**inputs, "logits_to_keep": last}, use_cache=False).logits
    return found[0], logits


def has_plain_head(own: Any, device: torch.device) -> bool:
    """Whether logits are the frozen head of the hidden states and nothing else; tried on a word.

    Gemma-2 soft-caps its logits, Cohere scales them. It is tried once; a model with several
    adapters has to be asked within `only`, and is known from then on.
    """
    if own not in _plain:
        with torch.no_grad():
            # alone in its row a word would get P in front of it
            one = virtual_token_ids(own)[:1] or [0]
            word = {"input_ids": torch.tensor([one], device=device)}
            hidden, logits = _hidden_states(own, own, word)
            with _head(own) as head:
                found = head(hidden)
        frozen = not any(p.requires_grad for p in own.get_output_embeddings().parameters())
        _plain[own] = frozen and torch.equal(found, logits)
    return _plain[own]


@contextmanager
def _head(own: Any) -> Iterator[Head]:
    """The model's head as a function [N, d] -> [N, V]; a sharded one is whole meanwhile."""
    head = own.get_output_embeddings()
    if not is_sharded(head.weight):
        yield head
        return
    with gathered(head.weight) as weight:
        yield lambda hidden: F.linear(hidden, weight, head.bias)
