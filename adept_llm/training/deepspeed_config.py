"""What a DeepSpeed configuration must and must not say to train adapters."""

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adept_llm.errors import InputError

# Trainer fills these from its arguments; a number here would silently win, or differ on resuming
AUTO = (
    "gradient_clipping",  # DeepSpeed's own default is 1.0, whatever max_grad_norm says
    "train_batch_size",
    "train_micro_batch_size_per_gpu",
    "gradient_accumulation_steps",
)
WRITTEN_OUT = "the configuration"  # as one of several entries is given on the command line
LIVE = "stage3_max_live_parameters"


def read_deepspeed(path: str | dict[str, Any]) -> dict[str, Any]:
    """The configuration in a file, or written out as JSON.

    Raises:
        InputError: if it is missing or no JSON object, or has an entry of another type than it is
            read as.
    """
    if isinstance(path, dict):
        return _of_right_types(path, WRITTEN_OUT)
    try:
        text = path if path.lstrip().startswith("{") else Path(path).read_text()
        content = json.loads(text, object_pairs_hook=_each_once)
    except OSError as error:
        raise InputError(
            f"deepspeed: {path}: {error.strerror}; `adept-llm files` lists ready ones"
        ) from error
    except ValueError as error:
        raise InputError(f"deepspeed: {path} is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"deepspeed: {path} is not a JSON object")
    return _of_right_types(content, WRITTEN_OUT if text is path else path)


def _of_right_types(content: dict[str, Any], source: str) -> dict[str, Any]:
    """The same, if what is read of it here has the types that it is read as.

    Raises:
        InputError: naming the first entry that has another.
    """
    an_object, a_number = (dict, "an object {..}"), (int, "a whole number")
    _expect(content, ("zero_optimization", "bf16", "fp16"), *an_object, source)
    zero = content.get("zero_optimization", {})
    _expect(zero, ("offload_param", "offload_optimizer"), *an_object, source)
    _expect(zero, ("stage", "zero_hpz_partition_size"), *a_number, source)
    if zero.get(LIVE) != "auto":
        _expect(zero, (LIVE,), *a_number, source)
    _expect(zero.get("offload_param", {}), ("nvme_path",), str, "a folder", source)
    return content


def _expect(
    entries: dict[str, Any], names: Sequence[str], kind: type, wanted: str, source: str
) -> None:
    for name in names:
        value = entries.get(name)
        if isinstance(value, float) and value.is_integer():  # as 1e9 is read
            value = int(value)
        right = isinstance(value, kind) and not isinstance(value, bool)
        if name in entries and not right:
            raise InputError(
                f'deepspeed: {source}: "{name}" is {json.dumps(value, default=str)}; write '
                f"{wanted}, or leave it out"
            )


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; json itself takes the last of two entries of a name without a word."""
    names = [name for name, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"'{twice}' is given twice; leave one out")
    return dict(pairs)


def zero_stage(config: dict[str, Any]) -> int:
    """The ZeRO stage, 0 for none."""
    return int(config.get("zero_optimization", {}).get("stage", 0))


def check_deepspeed(path: str | dict[str, Any], mixed_precision: bool = False) -> dict[str, Any]:
    """The configuration, if adapters can be trained and resumed with it.

    Args:
        path: file, JSON or content.
        mixed_precision: whether --bf16 or --fp16 was given.

    Raises:
        InputError: naming the entry and what to write there.
    """
    config = read_deepspeed(path)
    if importlib.util.find_spec("deepspeed") is None:
        raise InputError("deepspeed: is not installed; pip install 'adept-llm[deepspeed]'")
    for name in ("optimizer", "scheduler"):
        if name in config:
            raise InputError(
                f"deepspeed: {path} has '{name}', which knows one learning rate; leave it out: "
                "--learning_rate, --offset_learning_rate and --lr_scheduler_type make it"
            )
    for name in AUTO:
        if config.get(name, "auto" if name != "gradient_clipping" else None) != "auto":
            raise InputError(f'deepspeed: {path}: write "{name}": "auto"')
    zero = config.get("zero_optimization", {})
    if "offload_optimizer" in zero:
        raise InputError(
            f"deepspeed: {path} has offload_optimizer, but the adapter's optimizer is a few MB; "
            "leave it out"
        )
    enabled = [name for name in ("bf16", "fp16") if config.get(name, {}).get("enabled") is True]
    if mixed_precision or enabled:
        raise InputError(
            "bf16, fp16: DeepSpeed would cast the trained values too; leave them out, and give the "
            "frozen weights' type by --dtype bfloat16"
        )
    return config
