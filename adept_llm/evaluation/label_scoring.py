"""Classification by log-likelihood: the label whose words the model finds most likely."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from adept_llm.adapters import get_adapter
from adept_llm.packing.attention import ATTENTION, prepared_mask
from adept_llm.packing.collator import EncodedExample, left_pad
from adept_llm.packing.layout import PackedLayout


def score_labels(
    model: Any,
    examples: Sequence[EncodedExample],
    label_ids: list[list[int]],
    batch_size: int = 32,
) -> Tensor:
    """Log-likelihood of each label word after each prompt, [examples, labels], float32 on the CPU.

    A packed model computes the prompt once per batch and each text once for all labels.

    Args:
        model: an injected model; packed rows are used where `use_packed_attention` was called.
        examples: encoded examples; their targets are not looked at.
        label_ids: token ids of each label, without EOS. Where one begins with another, EOS is
            needed to tell them apart: see `with_end`.
        batch_size: examples in a batch.
    """
    score = _score_packed if model.config._attn_implementation == ATTENTION else _score_padded
    model.eval()
    with torch.no_grad():
        # neighbours of like length waste the least padding
        order = sorted(range(len(examples)), key=lambda i: len(examples[i].prompt_ids))
        scores = torch.empty(len(examples), len(label_ids))
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            prompts = [examples[i].prompt_ids for i in batch]
            scores[batch] = score(model, prompts, label_ids).float().cpu()
    return scores


def with_end(label_ids: list[list[int]], eos_token_id: int) -> list[list[int]]:
    """Label ids with EOS, if one label is the beginning of another; otherwise as they are."""
    ambiguous = any(a != b and b[: len(a)] == a for a in label_ids for b in label_ids)
    return [[*ids, eos_token_id] for ids in label_ids] if ambiguous else label_ids


def accuracy(scores: Tensor, labels: Sequence[int]) -> float:
    """Share of rows whose best label is the right one."""
    return (scores.argmax(1) == torch.tensor(labels)).float().mean().item()


def _score_packed(model: Any, prompts: list[list[int]], label_ids: list[list[int]]) -> Tensor:
    """[P | x_1 | .. | x_B | words of label 1 behind x_1 | ..]: a tree of depth 3."""
    virtual = get_adapter(model).virtual_token_ids
    # the last token of a label is predicted, never read
    words = [ids[:-1] for ids in label_ids] * len(prompts)
    owners = [1 + i for i in range(len(prompts)) for _ in label_ids]
    segments = [virtual, *prompts, *words]
    layout = PackedLayout(tuple(map(len, segments)), (-1,) + (0,) * len(prompts) + tuple(owners))
    keep, target, row = [], [], []
    for n, (owner, ids) in enumerate(zip(owners, label_ids * len(prompts), strict=True)):
        end_of_text = layout.starts[owner] + layout.lengths[owner] - 1
        first = layout.starts[1 + len(prompts) + n]
        keep += [end_of_text, *range(first, first + len(ids) - 1)]
        target += ids
        row += [n] * len(ids)
    device = get_adapter(model).weight.device
    logits = model(
        input_ids=torch.tensor([[t for s in segments for t in s]], device=device),
        position_ids=layout.position_ids().to(device),
        attention_mask=prepared_mask().to(device),
        packed_layout=layout,
        logits_to_keep=torch.tensor(keep, device=device),
        use_cache=False,
    ).logits[0]
    found = _log_likelihood(logits, torch.tensor(target, device=device))
    sums = found.new_zeros(len(owners)).index_add(0, torch.tensor(row, device=device), found)
    return sums.view(len(prompts), len(label_ids))


def _score_padded(model: Any, prompts: list[list[int]], label_ids: list[list[int]]) -> Tensor:
    """One row [PAD.. P x_i label] for each pair."""
    virtual = get_adapter(model).virtual_token_ids
    device = get_adapter(model).weight.device
    rows = [virtual + prompt + ids[:-1] for prompt in prompts for ids in label_ids]
    mask = left_pad([[1] * len(row) for row in rows], 0).to(device)
    targets = left_pad(label_ids * len(prompts), -1).to(device)
    logits = model(
        input_ids=left_pad(rows, 0).to(device),
        attention_mask=mask,
        position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
        logits_to_keep=targets.shape[1],
        use_cache=False,
    ).logits
    found = _log_likelihood(logits, targets.clamp(min=0)) * (targets >= 0)
    return found.sum(-1).view(len(prompts), len(label_ids))


def _log_likelihood(logits: Tensor, targets: Tensor) -> Tensor:
    """Log-probability of each target, [.., V] and [..] -> [..]."""
    return logits.float().log_softmax(-1).gather(-1, targets[..., None])[..., 0]
