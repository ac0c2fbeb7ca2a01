"""The frozen model and its tokenizer: everything checked before a weight is read."""

from pathlib import Path
from typing import Any

import torch

from adept_llm.errors import InputError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_config(name_or_path: str, revision: str | None = None) -> Any:
    """The model's configuration.

    Raises:
        InputError: if there is none, or the hub cannot be reached.
    """
    from transformers import AutoConfig

    if Path(name_or_path).is_dir() and not (Path(name_or_path) / "config.json").is_file():
        raise InputError(f"model_name_or_path: {name_or_path} has no config.json")
    try:
        return AutoConfig.from_pretrained(name_or_path, revision=revision)
    except (OSError, ValueError) as error:
        raise InputError(
            f"model_name_or_path: {name_or_path} is neither a folder here nor a model the hub "
            f"gives out ({_first_line(error)}); give a local folder"
        ) from error


def load_tokenizer(name_or_path: str, revision: str | None = None) -> Any:
    """The tokenizer.

    Raises:
        InputError: if there is none.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name_or_path, revision=revision)
    except (OSError, ValueError) as error:
        raise InputError(f"tokenizer: {name_or_path} has none ({_first_line(error)})") from error


def load_model(name_or_path: str, revision: str | None = None, dtype: str = "auto") -> Any:
    """The decoder, in evaluation mode, on the GPU where there is one.

    Raises:
        InputError: if the weights are missing or damaged.
    """
    from transformers import AutoModelForCausalLM

    model: Any
    try:
        model = AutoModelForCausalLM.from_pretrained(
            name_or_path, revision=revision, dtype=pick_dtype(dtype, load_config(name_or_path))
        )
    except (OSError, ValueError) as error:
        raise InputError(f"model_name_or_path: {name_or_path}: {_first_line(error)}") from error
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def pick_dtype(dtype: str, config: Any) -> torch.dtype:
    """The frozen weights' dtype: as asked, else the checkpoint's, but never float16 on a CPU."""
    if dtype != "auto":
        return DTYPES[dtype]
    stored = getattr(config, "dtype", None) or torch.float32
    # float16 products on CPUs run forty times slower than float32 ones
    slow = stored == torch.float16 and not torch.cuda.is_available()
    return torch.float32 if slow else stored


def check_context(config: Any, num_virtual_tokens: int, max_length: int) -> None:
    """Refuse a prompt and text that exceed the model's context.

    Raises:
        InputError: naming the largest max_length that fits.
    """
    context = getattr(config, "max_position_embeddings", None)
    if context is not None and num_virtual_tokens + max_length > context:
        raise InputError(
            f"max_length: {num_virtual_tokens} virtual tokens and {max_length} tokens of text "
            f"exceed the model's context of {context}; set --max_length "
            f"{context - num_virtual_tokens} or less"
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
