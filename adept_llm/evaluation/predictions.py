"""What a model says to examples, and the file that keeps it: one JSON object a line."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adept_llm.data import Example
from adept_llm.errors import InputError
from adept_llm.files import write_whole

PREDICTIONS_FILE = "predictions.jsonl"


@dataclass(frozen=True)
class Prediction:
    """What a model says to an example.

    Attributes:
        example: The example.
        text: The label word or the generated text.
        scores: The log-likelihood of each label; empty for free text.
        target_loss: Cross-entropy of the right answer and EOS, summed over its tokens, in nats.
        target_tokens: Number of those tokens; 0 where that was not measured.
    """

    example: Example
    text: str
    scores: tuple[float, ...] = ()
    target_loss: float = 0.0
    target_tokens: int = 0

    def row(self) -> dict[str, Any]:
        """The prediction as a JSON object."""
        one = self.example
        row: dict[str, Any] = {"id": one.id, "prediction": self.text, "target": one.target}
        if one.answers:
            row["answers"] = list(one.answers)
        if one.group:
            row["group"] = one.group
        if self.scores:
            row["scores"] = dict(zip(one.labels, self.scores, strict=True))
        if self.target_tokens:
            row["loss"] = self.target_loss / self.target_tokens
        return row


def finite(scores: Tensor, example: Example) -> list[float]:
    """Log-likelihoods of an example as numbers.

    Raises:
        InputError: for one that is not finite; the largest of such means nothing.
    """
    if not torch.isfinite(scores).all():
        raise InputError(
            f"loss: not finite on {example.id}; the rates were too high, or the base's --dtype is "
            "too narrow: take bfloat16 or float32"
        )
    numbers: list[float] = scores.tolist()
    return numbers


def write_predictions(
    path: str | Path, predictions: Sequence[Prediction] | Mapping[str, Sequence[Prediction]]
) -> None:
    """Write one JSON object per line, the whole file or nothing.

    Args:
        path: Of the file.
        predictions: Of one model; or of several by name, which the lines begin with.
    """
    if isinstance(predictions, Mapping):
        rows = [{"adapter": n} | one.row() for n, each in predictions.items() for one in each]
    else:
        rows = [one.row() for one in predictions]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    write_whole(Path(path), "".join(lines).encode())
