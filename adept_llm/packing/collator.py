"""Micro-batches of encoded examples: one packed row, or left-padded rows.

Both give the model the same: logits where a target token is to be predicted, and `labels` aligned
with those logits (already shifted; -100 for none).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from adept_llm.packing.attention import prepared_mask
from adept_llm.packing.layout import PackedLayout

IGNORED = -100


class EncodedExample(Protocol):
    """What a collator needs of an example (see `adept_llm.tasks.Encoded`)."""

    @property
    def prompt_ids(self) -> list[int]:
        """BOS and the prompt."""

    @property
    def target_ids(self) -> list[int]:
        """The target and EOS."""

    @property
    def id(self) -> str:
        """Where the example comes from."""


@dataclass(frozen=True)
class SharedPrefixCollator:
    """[P | x_1 | x_2 | .. | x_B] in one row of T = m + sum(len(x_i)) tokens.

    Attributes:
        virtual_token_ids: The m ids of P.
    """

    virtual_token_ids: list[int]

    def __call__(self, examples: Sequence[EncodedExample]) -> dict[str, Any]:
        """Batch of input_ids [1, T], position_ids [1, T], logits_to_keep [N] and labels [N]."""
        m = len(self.virtual_token_ids)
        # the last target token is predicted, never read
        texts = [(e.prompt_ids + e.target_ids)[:-1] for e in examples]
        layout = PackedLayout.shared_prefix(m, [len(text) for text in texts])
        keep: list[int] = []
        for start, text, example in zip(layout.starts[1:], texts, examples, strict=True):
            # a target behind an empty prompt is predicted from the end of the prefix
            first = start + len(example.prompt_ids) - 1 if example.prompt_ids else m - 1
            keep.append(first)
            keep.extend(range(start + len(example.prompt_ids), start + len(text)))
        return {
            "input_ids": torch.tensor(
                [self.virtual_token_ids + [t for text in texts for t in text]]
            ),
            "position_ids": layout.position_ids(),
            "attention_mask": prepared_mask(),
            "packed_layout": layout,
            "logits_to_keep": torch.tensor(keep),
            "labels": torch.tensor([t for e in examples for t in e.target_ids]),
            "example_ids": [e.id for e in examples],
            "num_text_tokens": sum(map(len, texts)),
        }


@dataclass(frozen=True)
class PaddedCollator:
    """[PAD.. P BOS x_i] rows: virtual tokens stand next to the text, targets end in one column.

    Attributes:
        virtual_token_ids: The m ids of P.
        pad_token_id: Any id; it is masked.
    """

    virtual_token_ids: list[int]
    pad_token_id: int

    def __call__(self, examples: Sequence[EncodedExample]) -> dict[str, Any]:
        """Batch of input_ids [B, L], attention_mask, position_ids and labels [B, K]."""
        texts = [self.virtual_token_ids + (e.prompt_ids + e.target_ids)[:-1] for e in examples]
        mask = left_pad([[1] * len(text) for text in texts], 0)
        labels = left_pad([e.target_ids for e in examples], IGNORED)
        return {
            "input_ids": left_pad(texts, self.pad_token_id),
            "attention_mask": mask,
            "position_ids": (mask.cumsum(-1) - 1).clamp(min=0),
            "logits_to_keep": labels.shape[1],
            "labels": labels,
            "example_ids": [e.id for e in examples],
            "num_text_tokens": sum(map(len, texts)) - len(texts) * len(self.virtual_token_ids),
        }


def left_pad(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """Stack rows of different lengths, padded on the left, [B, L]."""
    longest = max(map(len, rows))
    return torch.tensor([[value] * (longest - len(row)) + list(row) for row in rows])
