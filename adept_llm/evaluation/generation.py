"""Generated answers: the prompt P is computed once, and all texts of a batch read its cache.

Stock `generate` does the rest. Texts are padded between P and themselves, [P][PAD..][text], which a
mask hides; positions count what the mask shows, so that a text has the same positions as alone.
A sliding window counts columns, hidden or not: where a row is longer than the window, the pads
would push P out of it, and texts are padded in front, [PAD..][P][text], without a shared cache.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from adept_llm.adapters import get_adapter
from adept_llm.packing.collator import left_pad


class Certainty(LogitsProcessor):
    """Listens to decoding: the log-probability of the most probable token of each step."""

    def __init__(self) -> None:
        self.steps: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Note it for each row, change nothing. [B, V] -> [B, V]."""
        logits = scores.float()
        self.steps.append(logits.amax(-1) - logits.logsumexp(-1))
        return scores


def generate(
    model: Any,
    prompts: Sequence[list[int]],
    max_new_tokens: int,
    eos_token_id: int,
    batch_size: int = 32,
    temperature: float = 0.0,
) -> Iterator[tuple[int, list[int], float]]:
    """Continue prompts until EOS.

    Args:
        model: an injected model.
        prompts: token ids without virtual tokens, none empty.
        max_new_tokens: most tokens of an answer.
        eos_token_id: what ends an answer.
        batch_size: prompts in a batch.
        temperature: 0 takes the most probable token; above it tokens are drawn, by torch's
            generator.

    Yields:
        Index of the prompt, the ids of its answer without EOS, and the mean log-probability of the
        most probable tokens (at temperature 0 the answer's own, EOS included); in order of length,
        batch by batch.
    """
    model.eval()
    prefix = _prefix_cache(model)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        texts = [prompts[i] for i in batch]
        shared = prefix if _fits_window(model, texts, max_new_tokens) else None
        answers, certainties = _continue(
            model, shared, texts, max_new_tokens, eos_token_id, temperature
        )
        yield from zip(batch, answers, certainties, strict=True)


def _prefix_cache(model: Any) -> Any:
    """Keys and values of P for a batch of one; None without virtual tokens."""
    adapter = get_adapter(model)
    if not adapter.virtual_token_ids:
        return None
    ids = torch.tensor([adapter.virtual_token_ids], device=adapter.weight.device)
    with torch.no_grad():
        return model(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values


def _fits_window(model: Any, texts: Sequence[list[int]], max_new_tokens: int) -> bool:
    """Whether each token of the batch's rows sees all columns before it."""
    window = getattr(model.config, "sliding_window", None)
    longest = len(get_adapter(model).virtual_token_ids) + max(map(len, texts)) + max_new_tokens
    return not window or longest <= window


def _continue(
    model: Any,
    prefix: Any,
    texts: Sequence[list[int]],
    max_new_tokens: int,
    eos: int,
    temperature: float,
) -> tuple[list[list[int]], list[float]]:
    adapter = get_adapter(model)
    device, virtual = adapter.weight.device, adapter.virtual_token_ids
    if prefix is None:
        ids, mask = _padded([virtual + text for text in texts], eos)
    else:
        ids, mask = _padded(texts, eos)
        shown = torch.tensor(virtual).expand(len(texts), -1)
        ids, mask = torch.cat([shown, ids], 1), torch.cat([torch.ones_like(shown), mask], 1)
    cache = deepcopy(prefix)
    if cache is not None:
        cache.batch_repeat_interleave(len(texts))
    certainty = Certainty()
    # stated, so that the model's own generation_config (penalties, sampling, EOS) has no say
    drawn = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    config = GenerationConfig(
        max_new_tokens=max_new_tokens, num_beams=1, repetition_penalty=1.0, eos_token_id=eos,
        pad_token_id=eos, **(drawn if temperature > 0 else {"do_sample": False}),
    )  # fmt: skip
    own, model.generation_config = model.generation_config, GenerationConfig()
    try:
        with torch.no_grad():
            out = model.generate(
                ids.to(device),
                attention_mask=mask.to(device),
                past_key_values=cache,
                generation_config=config,
                logits_processor=LogitsProcessorList([certainty]),
            )
    finally:
        model.generation_config = own
    new = out[:, ids.shape[1] :].tolist()
    answers = [row[: row.index(eos)] if eos in row else row for row in new]
    steps = torch.stack(certainty.steps, 1).tolist()  # [B, new tokens]
    sizes = [min(len(answer) + 1, len(row)) for answer, row in zip(answers, new, strict=True)]
    return answers, [sum(row[:n]) / n for row, n in zip(steps, sizes, strict=True)]


def _padded(rows: Sequence[list[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Rows padded on the left, and the mask that hides the pads; both [B, L]."""
    return left_pad(rows, pad), left_pad([[1] * len(row) for row in rows], 0)
