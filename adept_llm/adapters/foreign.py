"""Adapters of other tools: PEFT's prompt tuning, and what the authors of DePT and ADePT save.

All write adapter_config.json with a `peft_type`, and the prompt as `prompt_embeddings` [m, d]:

    PROMPT_TUNING         PEFT
    PROMPT_TUNING_LORA    DePT: A [s, r], B [r, d], times lora_alpha / sqrt(r)
                          (github.com/ZhengxiangShi/DePT, peft/tuners/prompt_tuning_lora.py,
                          peft/peft_model.py); ADePT's copy of it: relu(E A) B, A [d, r]
    PROMPT_TUNING_LORAX   ADePT: relu(E A + a) B + b (github.com/HungerPWAY/ADePT,
                          peft/tuners/prompt_tuning_lorax.py, peft/peft_model.py)

Their values are plain ones. Where a layer multiplies its rows by a constant (Gemma 3) a prompt of
theirs stands behind that product, one of this package in front of it.
"""

import json
import math
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adept_llm.adapters.config import AdeptConfig
from adept_llm.errors import InputError

CONFIG_FILE = "adapter_config.json"
WEIGHTS, OLD_WEIGHTS = "adapter_model.safetensors", "adapter_model.bin"
PROMPT = "prompt_embeddings"
LORA = "lora_embedding_"
PLAIN, BY_POSITION, BY_WORD = "PROMPT_TUNING", "PROMPT_TUNING_LORA", "PROMPT_TUNING_LORAX"


@dataclass(frozen=True)
class Foreign:
    """An adapter of another tool.

    Attributes:
        config: The same as a configuration of this package, with plain units.
        values: The trained values by their names here, fp32.
        base: The base that it names.
        revision: The base's commit on the hub.
    """

    config: AdeptConfig
    values: Mapping[str, Tensor]
    base: str | None
    revision: str | None

    def on_table(self, embed_scale: float | None) -> dict[str, Tensor]:
        """The values, of a prompt that stands in front of a layer's constant.

        Args:
            embed_scale: That constant, None for a layer without.
        """
        prompt = self.values["prompt.weight"] / (embed_scale or 1.0)
        return {**self.values, "prompt.weight": prompt}


def read_foreign(folder: Path) -> Foreign | None:
    """The adapter in a folder; None for one that names no `peft_type`, as this package's.

    Raises:
        InputError: for a kind that no method here computes, and files that are missing or damaged.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"adapter: {path} is not JSON ({error})") from error
    kind = content.get("peft_type") if isinstance(content, dict) else None
    if kind is None:
        return None
    if kind not in (PLAIN, BY_POSITION, BY_WORD):
        raise InputError(
            f"adapter: {folder} is PEFT's {kind}, which no method here computes; PROMPT_TUNING and "
            "the adapters of DePT's and ADePT's authors can be read"
        )
    tensors = _tensors(folder)
    prompt = tensors.pop(PROMPT, None)
    if prompt is None or prompt.ndim != 2:
        raise InputError(f"adapter: {folder} holds no {PROMPT} [m, d]; take the whole folder")
    offset = {name.rpartition(LORA)[2]: value for name, value in tensors.items()}
    config, offsets = _offset(kind, content, prompt, offset, folder)
    values = {"prompt.weight": prompt, **{f"offset.{n}": v for n, v in offsets.items()}}
    for name, value in values.items():
        if not torch.isfinite(value).all():
            raise InputError(f"adapter: {folder} has values in {name} that are not finite")
    base, revision = content.get("base_model_name_or_path"), content.get("revision")
    for text in (base, revision):
        if not isinstance(text, str | None):
            raise InputError(f"adapter: {path} names its base as {text!r}, which is no text")
    return Foreign(config, values, base or None, revision)


def _offset(
    kind: str, content: Mapping[str, Any], prompt: Tensor, given: Mapping[str, Tensor], folder: Path
) -> tuple[AdeptConfig, dict[str, Tensor]]:
    """Which method the values are of, and its offset's values by their names here."""
    m, width = prompt.shape
    shapes = {name: tuple(value.shape) for name, value in given.items()}
    if kind == PLAIN and not given:
        return AdeptConfig("prompt_tuning", m, units="plain"), {}
    rows, rank = shapes.get("A", (0, 0)) if len(shapes.get("A", ())) == 2 else (0, 0)
    network = {"A": (width, rank), "B": (rank, width)}
    biases = {"a": (rank,), "b": (width,)}
    adept = AdeptConfig("adept", m, rank or 1, units="plain")
    if kind == BY_WORD and shapes == network | biases:
        return adept, {"w1": given["A"], "b1": given["a"], "w2": given["B"], "b2": given["b"]}
    length = content.get("max_length")
    if (
        kind == BY_POSITION
        and rank
        and rows != width
        and shapes == {"A": (length, rank), "B": (rank, width)}
    ):
        alpha = content.get("lora_alpha", 8)
        if not isinstance(alpha, int | float):
            raise InputError(f"adapter: {folder}: lora_alpha is {alpha!r} and no number")
        scale = alpha / math.sqrt(rank)
        config = AdeptConfig(
            "dept", m, rank, offset_positions=rows, offset_scale=scale, units="plain"
        )
        return config, {"a": given["A"], "b": given["B"]}
    if kind == BY_POSITION and length != width and shapes == network:
        none = {"b1": torch.zeros(rank), "b2": torch.zeros(width)}
        return adept, {"w1": given["A"], "w2": given["B"], **none}
    raise InputError(
        f"adapter: {folder} is {kind} with {shapes} beside a prompt {(m, width)}, which is neither "
        "DePT's nor ADePT's layout"
    )


def _tensors(folder: Path) -> dict[str, Tensor]:
    """What the file of weights holds, as fp32 on the CPU."""
    from safetensors.torch import load_file

    new, old = folder / WEIGHTS, folder / OLD_WEIGHTS
    if not new.is_file() and not old.is_file():
        raise InputError(f"adapter: {folder} has neither {WEIGHTS} nor {OLD_WEIGHTS}")
    path = new if new.is_file() else old
    try:
        # a pickle may run code, unless tensors alone are read
        found: Any = (
            load_file(new)
            if new.is_file()
            else torch.load(old, map_location="cpu", weights_only=True)
        )
    except pickle.UnpicklingError as error:
        raise InputError(f"adapter: {path} holds more than tensors, and is not read") from error
    except Exception as error:  # bytes that are no pickle are obeyed as if they were one
        raise InputError(f"adapter: {path} is damaged ({_line(error)})") from error
    if not isinstance(found, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items()
    ):
        raise InputError(f"adapter: {path} holds other things than tensors by name")
    return {name: value.detach().float() for name, value in found.items()}


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
