"""Classification by log-likelihood: the label whose words the model finds most likely."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from adept_llm.adapters import embedding_device, virtual_token_ids
from adept_llm.evaluation.ranks import batches, collect
from adept_llm.packing import IGNORED, Batcher, EncodedExample, PackedLayout, token_losses
from adept_llm.packing.attention import prepared_mask
from adept_llm.packing.collator import check_prompts, left_pad

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LabelIds = list[list[int]]  # the token ids of each label of one example


def score_labels(
    model: "PreTrainedModel",
    batcher: Batcher,
    examples: Sequence[EncodedExample],
    label_ids: Sequence[LabelIds],
    batch_size: int = 32,
) -> list[Tensor]:
    """Log-likelihood of each label word after each prompt.

    A packed model computes the prompt once per batch and each text once for all labels. Several
    ranks share the work, and all must call.

    Args:
        model: an injected model.
        batcher: the model's, from `make_batcher`.
        examples: encoded examples; their targets are not looked at.
        label_ids: for each example the token ids of each of its labels, without EOS. Where one
            begins with another, EOS is needed to tell them apart: see `with_end`.
        batch_size: examples in a batch.

    Returns:
        For each example one number per label, float32 on the CPU.
    """
    check_prompts(len(batcher.virtual_token_ids), examples)
    model.eval()
    with torch.no_grad():
        # neighbours of like length waste the least padding
        order = sorted(range(len(examples)), key=lambda i: len(examples[i].prompt_ids))
        scores: dict[int, Tensor] = {}
        for batch in batches(order, batch_size):
            pairs = [(examples[i].prompt_ids, label_ids[i]) for i in batch]
            # the last token of a label is predicted, never read
            longest = max(len(prompt) + len(one) - 1 for prompt, each in pairs for one in each)
            score = _score_packed if batcher.packs(longest) else _score_padded
            found = score(model, pairs).float().cpu()
            scores.update(zip(batch, found.split([len(ids) for _, ids in pairs]), strict=True))
    scores = collect(scores)
    return [scores[i] for i in range(len(examples))]


def with_end(label_ids: LabelIds, eos_token_id: int) -> LabelIds:
    """Label ids with EOS, if one label is the beginning of another; otherwise as they are."""
    ambiguous = any(a != b and b[: len(a)] == a for a in label_ids for b in label_ids)
    return [[*ids, eos_token_id] for ids in label_ids] if ambiguous else label_ids


def _score_packed(model: "PreTrainedModel", pairs: Sequence[tuple[list[int], LabelIds]]) -> Tensor:
    """[P | x_1 | .. | x_B | words of label 1 behind x_1 | ..]: a tree of depth 3.

    Returns the scores of all labels of all prompts, one after another.
    """
    virtual = virtual_token_ids(model)
    prompts = [prompt for prompt, _ in pairs]
    labels = [ids for _, each in pairs for ids in each]
    owners = [1 + i for i, (_, each) in enumerate(pairs) for _ in each]
    # the last token of a label is predicted, never read
    segments = [virtual, *prompts, *(ids[:-1] for ids in labels)]
    layout = PackedLayout(tuple(map(len, segments)), (-1,) + (0,) * len(prompts) + tuple(owners))
    keep, target, row = [], [], []
    for n, (owner, ids) in enumerate(zip(owners, labels, strict=True)):
        end_of_text = layout.starts[owner] + layout.lengths[owner] - 1
        first = layout.starts[1 + len(prompts) + n]
        keep += [end_of_text, *range(first, first + len(ids) - 1)]
        target += ids
        row += [n] * len(ids)
    device = embedding_device(model)
    inputs = {
        "input_ids": torch.tensor([[t for s in segments for t in s]], device=device),
        "position_ids": layout.position_ids().to(device),
        "attention_mask": prepared_mask().to(device),
        "packed_layout": layout,
        "logits_to_keep": torch.tensor(keep, device=device),
    }
    found = -token_losses(model, inputs, torch.tensor(target, device=device))
    return found.new_zeros(len(labels)).index_add(0, torch.tensor(row, device=device), found)


def _score_padded(model: "PreTrainedModel", pairs: Sequence[tuple[list[int], LabelIds]]) -> Tensor:
    """One row [PAD.. P x_i label] for each pair of text and label; returns as `_score_packed`."""
    virtual = virtual_token_ids(model)
    device = embedding_device(model)
    rows = [virtual + prompt + ids[:-1] for prompt, each in pairs for ids in each]
    mask = left_pad([[1] * len(row) for row in rows], 0).to(device)
    targets = left_pad([ids for _, each in pairs for ids in each], IGNORED).to(device)
    inputs = {
        "input_ids": left_pad(rows, 0).to(device),
        "attention_mask": mask,
        "position_ids": (mask.cumsum(-1) - 1).clamp(min=0),
        "logits_to_keep": torch.arange(mask.shape[1], device=device)[-targets.shape[1] :],
    }
    return -token_losses(model, inputs, targets).sum(-1)
