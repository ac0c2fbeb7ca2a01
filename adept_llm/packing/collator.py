"""Micro-batches of encoded examples: one packed row, or left-padded rows.

Both give a model the same: logits where a target token is to be predicted, and `labels` aligned
with those logits (already shifted; -100 for none).
"""

from collections.abc import Sequence
from typing import Any, Protocol, TypedDict

import torch
from torch import Tensor

from adept_llm.errors import InputError
from adept_llm.packing.attention import prepared_mask
from adept_llm.packing.layout import PackedLayout

IGNORED = -100


class EncodedExample(Protocol):
    """What a batch needs of an example (see `adept_llm.data.Encoded`)."""

    @property
    def prompt_ids(self) -> list[int]:
        """BOS and the prompt."""

    @property
    def target_ids(self) -> list[int]:
        """The target and EOS, or all that may be learnt."""

    @property
    def passed_over(self) -> Sequence[tuple[int, int]]:
        """Spans of the target that are not learnt."""

    @property
    def id(self) -> str:
        """Where the example comes from."""


class Batch(TypedDict):
    """A micro-batch: what the model takes, apart from the book-keeping.

    Attributes:
        inputs: Keyword arguments of the model.
        labels: Target ids aligned with the logits; -100 for none.
        example_ids: Where the examples come from.
        num_text_tokens: Tokens of the texts, without virtual tokens and padding.
    """

    inputs: dict[str, Any]
    labels: Tensor
    example_ids: list[str]
    num_text_tokens: int


def computed_tokens(num_virtual_tokens: int, texts: Sequence[int], packed: bool) -> int:
    """Tokens that a micro-batch holds as it is computed, virtual ones and padding among them.

    Args:
        num_virtual_tokens: m.
        texts: tokens of each text but the last, which is predicted and not read.
        packed: with the virtual tokens once, or in front of each text and padded to the longest.
    """
    if packed:
        return num_virtual_tokens + sum(texts)
    return len(texts) * (num_virtual_tokens + max(texts))


def packed_batch(virtual_token_ids: Sequence[int], examples: Sequence[EncodedExample]) -> Batch:
    """[P | x_1 | x_2 | .. | x_B] in one row of T = m + sum(len(x_i)) tokens.

    Args:
        virtual_token_ids: The m ids of P.
        examples: The B examples.

    Returns:
        input_ids [1, T], position_ids [1, T], logits_to_keep [N] and labels [N].

    Raises:
        InputError: An example has an empty prompt and there is no P, see `check_prompts`.
    """
    m = len(virtual_token_ids)
    check_prompts(m, examples)
    texts = _texts(examples)
    layout = PackedLayout.shared_prefix(m, [len(text) for text in texts])
    keep: list[int] = []
    for start, text, example in zip(layout.starts[1:], texts, examples, strict=True):
        # a target behind an empty prompt is predicted from the end of the prefix
        first = start + len(example.prompt_ids) - 1 if example.prompt_ids else m - 1
        predicted_from = [first, *range(start + len(example.prompt_ids), start + len(text))]
        keep.extend(predicted_from[n] for n in _learnt(example))
    return {
        "inputs": {
            "input_ids": torch.tensor([[*virtual_token_ids, *(t for text in texts for t in text)]]),
            "position_ids": layout.position_ids(),
            "attention_mask": prepared_mask(),
            "packed_layout": layout,
            "logits_to_keep": torch.tensor(keep, dtype=torch.long),
        },
        "labels": torch.tensor(
            [e.target_ids[n] for e in examples for n in _learnt(e)], dtype=torch.long
        ),
        "example_ids": [e.id for e in examples],
        "num_text_tokens": sum(map(len, texts)),
    }


def joined_batch(batches: Sequence[Batch]) -> Batch:
    """Packed batches as one row, [P_1 | x.. | P_2 | x..], in which none sees another."""
    inputs = [batch["inputs"] for batch in batches]
    sizes = [one["input_ids"].shape[1] for one in inputs]
    starts = [sum(sizes[:n]) for n in range(len(sizes))]
    keep = [one["logits_to_keep"] + start for one, start in zip(inputs, starts, strict=True)]
    return {
        "inputs": {
            "input_ids": torch.cat([one["input_ids"] for one in inputs], 1),
            "position_ids": torch.cat([one["position_ids"] for one in inputs], 1),
            "attention_mask": prepared_mask(),
            "packed_layout": PackedLayout.side_by_side([one["packed_layout"] for one in inputs]),
            "logits_to_keep": torch.cat(keep),
        },
        "labels": torch.cat([batch["labels"] for batch in batches]),
        "example_ids": [each for batch in batches for each in batch["example_ids"]],
        "num_text_tokens": sum(batch["num_text_tokens"] for batch in batches),
    }


def padded_batch(
    virtual_token_ids: Sequence[int], examples: Sequence[EncodedExample], pad_token_id: int = 0
) -> Batch:
    """[PAD.. P BOS x_i] rows: virtual tokens stand next to the text, targets end in one column.

    Args:
        virtual_token_ids: The m ids of P.
        examples: The B examples.
        pad_token_id: Any id of the table; it is masked.

    Returns:
        input_ids, attention_mask and position_ids [B, L], logits_to_keep [K], the last K columns,
        and labels [B, K].

    Raises:
        InputError: As `packed_batch`.
    """
    check_prompts(len(virtual_token_ids), examples)
    texts = _texts(examples)
    rows = [[*virtual_token_ids, *text] for text in texts]
    mask = left_pad([[1] * len(row) for row in rows], 0)
    labels = left_pad([_labels(e) for e in examples], IGNORED)
    length = mask.shape[1]
    return {
        "inputs": {
            "input_ids": left_pad(rows, pad_token_id),
            "attention_mask": mask,
            "position_ids": (mask.cumsum(-1) - 1).clamp(min=0),
            # by index: a slice of each row is no matrix, and the product of a batch with the head
            # copies the head for each row, in bf16 on CPUs
            "logits_to_keep": torch.arange(length - labels.shape[1], length),
        },
        "labels": labels,
        "example_ids": [e.id for e in examples],
        "num_text_tokens": sum(map(len, texts)),
    }


def check_prompts(num_virtual_tokens: int, examples: Sequence[EncodedExample]) -> None:
    """Refuse a target that has nothing to be predicted from.

    Raises:
        InputError: naming the example.
    """
    if num_virtual_tokens:
        return
    for example in examples:
        if not example.prompt_ids:
            raise InputError(
                f"{example.id}: the prompt has no token and there are no virtual tokens, so "
                "nothing predicts the target; give a prompt, or --num_virtual_tokens 1 or more"
            )


def left_pad(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """Stack rows of different lengths, padded on the left, [B, L]."""
    longest = max(map(len, rows))
    padded = [[value] * (longest - len(row)) + list(row) for row in rows]
    return torch.tensor(padded, dtype=torch.long)


def _learnt(example: EncodedExample) -> list[int]:
    """Which of its target's tokens the loss is on."""
    left_out = {n for start, end in example.passed_over for n in range(start, end)}
    return [n for n in range(len(example.target_ids)) if n not in left_out]


def _labels(example: EncodedExample) -> list[int]:
    labels = [IGNORED] * len(example.target_ids)
    for n in _learnt(example):
        labels[n] = example.target_ids[n]
    return labels


def _texts(examples: Sequence[EncodedExample]) -> list[list[int]]:
    # the last target token is predicted, never read
    return [(e.prompt_ids + e.target_ids)[:-1] for e in examples]
