"""A saved adapter and its base, as evaluate and generate take them."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adept_llm.adapters import BaseTable, load_adapter
from adept_llm.base.loading import load_config, load_model, load_tokenizer
from adept_llm.compat.deepspeed import gathered
from adept_llm.errors import InputError
from adept_llm.training.arguments import DTYPES

RUN_FILE = "run.json"
# what evaluate and generate take from there
RECORDED = {"template": str, "max_length": int, "quantization": str, "labels": list}


@dataclass(frozen=True)
class BaseArguments:
    """Which adapter, on which base."""

    adapter: str = field(metadata={"help": "folder of a saved adapter"})
    model_name_or_path: str | None = field(
        default=None, metadata={"help": "base model; default: the one the adapter names"}
    )
    dtype: str = field(
        default="auto", metadata={"help": "of the frozen weights", "choices": DTYPES}
    )

    def base(self, table: BaseTable) -> str:
        """Name or folder of the base.

        Raises:
            InputError: if neither the arguments nor the adapter name one.
        """
        name = self.model_name_or_path or table.name_or_path
        if not name:
            raise InputError("model_name_or_path: the adapter names no base model; give it")
        return name

    def revision(self, table: BaseTable) -> str | None:
        """Commit of the base on the hub: the adapter's, unless another base is given."""
        return None if self.model_name_or_path else table.revision


@dataclass(frozen=True)
class TunedArguments(BaseArguments):
    """Likewise, with what is the training run's own by default."""

    template: str = field(
        default="", metadata={"help": "plain, alpaca or chat; default: as in training"}
    )
    max_length: int = field(
        default=0, metadata={"help": "tokens of a prompt and its answer; default: as in training"}
    )
    quantization: str = field(
        default="", metadata={"help": "none, nf4 or int8; default: as in training"}
    )

    def __post_init__(self) -> None:
        given = trained_with(self.adapter)
        if not self.template:
            object.__setattr__(self, "template", given.get("template", "plain"))
        if not self.max_length:
            object.__setattr__(self, "max_length", given.get("max_length", 256))
        if not self.quantization:
            object.__setattr__(self, "quantization", given.get("quantization", "none"))


def trained_with(adapter: str) -> dict[str, Any]:
    """What the training run was given for its data; empty for an adapter saved by other means."""
    path = Path(adapter) / RUN_FILE
    if not path.is_file():
        return {}
    try:
        data = dict(json.loads(path.read_bytes())["data"])
        for name, kind in RECORDED.items():
            if not isinstance(data.get(name, kind()), kind):
                raise TypeError(f"{name} is no {kind.__name__}")
        return data
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is not what a training run writes; remove it") from error


def base_config(tuned: BaseArguments, table: BaseTable) -> Any:
    """The base's configuration, if the adapter can be one of it.

    Raises:
        InputError: for a base of another width; other differences show when its weights are read.
    """
    config = load_config(tuned.base(table), tuned.revision(table))
    # OPT-350m's table is narrower than its layers
    width = getattr(config, "word_embed_proj_dim", None) or config.hidden_size
    if width != table.hidden_size:
        raise InputError(
            f"adapter: {tuned.adapter} was made for hidden size {table.hidden_size}, "
            f"{tuned.base(table)} has {width}; load the base it was trained on"
        )
    return config


def tuned_tokenizer(tuned: BaseArguments, table: BaseTable) -> Any:
    """The base's tokenizer."""
    return load_tokenizer(tuned.base(table), tuned.revision(table))


def load_tuned(tuned: BaseArguments, table: BaseTable, quantization: str = "none") -> Any:
    """The base with its adapter."""
    model = load_model(tuned.base(table), tuned.revision(table), tuned.dtype, quantization)
    return load_adapter(model, tuned.adapter, gather=gathered)
