"""Save and read an adapter: adapter_config.json, adapter_model.safetensors, nothing of the base."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from adept_llm.adapters.config import AdeptConfig, BaseTable, config_from_json, config_to_json
from adept_llm.adapters.foreign import read_foreign
from adept_llm.adapters.layer import AdeptEmbedding, get_adapter
from adept_llm.errors import InputError
from adept_llm.files import write_files
from adept_llm.hub import adapter_folder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"


def save_adapter(model: "PreTrainedModel", folder: str | Path) -> Path:
    """Write the adapter of a model; each file appears whole or not at all.

    Args:
        model: an injected model.
        folder: created where it is missing.

    Returns:
        The folder.

    Raises:
        InputError: if the model has no adapter, or it is split over ranks.
    """
    adapter = get_adapter(model)
    values = adapter.trained_parameters()
    if any(tuple(value.shape) != adapter.shapes[name] for name, value in values.items()):
        raise InputError("adapter: is split over the ranks by ZeRO-3; use trainer.save_model")
    return write_files(Path(folder), adapter_files(adapter, values))


def adapter_files(adapter: AdeptEmbedding, values: Mapping[str, Tensor]) -> dict[str, bytes]:
    """File name -> content of a saved adapter.

    Args:
        adapter: says the rest: configuration, base, and what is random and frozen.
        values: its trained values by parameter name.
    """
    from safetensors.torch import save

    values = {**values, **adapter.frozen_values()}
    tensors = {name: value.detach().cpu().contiguous() for name, value in values.items()}
    config = json.dumps(config_to_json(adapter.config, adapter.table), indent=2) + "\n"
    return {
        WEIGHTS_FILE: save(tensors, metadata={"format": "pt"}),
        CONFIG_FILE: config.encode(),
    }


def read_adapter(folder: str | Path) -> tuple[AdeptConfig, BaseTable, dict[str, Tensor]]:
    """Config, base and tensors of a saved adapter, on the CPU.

    Raises:
        InputError: if a file is missing or damaged, or holds values that are not finite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    _check_there(folder, CONFIG_FILE)
    try:
        content = json.loads((folder / CONFIG_FILE).read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"adapter: {folder / CONFIG_FILE} is not JSON ({error})") from error
    if isinstance(content, dict) and "peft_type" in content:
        raise InputError(f"adapter: {folder} is another tool's; `adept-llm import` converts it")
    _check_there(folder, WEIGHTS_FILE)
    config, table = config_from_json(content)
    try:
        tensors = load_file(folder / WEIGHTS_FILE)
    except (SafetensorError, OSError) as error:
        raise InputError(f"adapter: {folder / WEIGHTS_FILE} is damaged ({error})") from error
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise InputError(
                f"adapter: {folder / WEIGHTS_FILE} has values in {name} that are not finite; its "
                "training went wrong: take an earlier checkpoint, or train with lower rates"
            )
    return config, table, tensors


def _check_there(folder: Path, name: str) -> None:
    if not (folder / name).is_file():
        raise InputError(f"adapter: {folder} has no {name}; give a folder of save_adapter")


def saved_prompt(name: str, embed_scale: float | None = None) -> Tensor:
    """The rows of a saved adapter's prompt, of this package or another tool, [m, d].

    Args:
        name: its folder, or 'user/repo' on the hub.
        embed_scale: the constant of the layer that they are for, see `foreign.Foreign.on_table`.

    Raises:
        InputError: for an adapter that cannot be read, or makes its prompt from other values.
    """
    folder = adapter_folder(name)
    if foreign := read_foreign(folder):
        return foreign.on_table(embed_scale)["prompt.weight"]
    config, table, tensors = read_adapter(folder)
    prompt = tensors.get("prompt.weight")
    if prompt is None:
        raise InputError(
            "prompt_init_adapter: its method makes its prompt from other values; take an adapter "
            "of adept, dept, embedding_lora or prompt_tuning"
        )
    return prompt * config.unit(table)


def read_trained(adapter: AdeptEmbedding, folder: str | Path) -> dict[str, Tensor]:
    """Trained values of a saved adapter, for one that goes on from it.

    Raises:
        InputError: as `read_adapter`, and if what is random and frozen in the two differs.
    """
    _, _, tensors = read_adapter(folder)
    for name, value in adapter.frozen_values().items():
        saved = tensors.pop(name, None)
        if saved is None or not torch.equal(saved, value.cpu()):
            raise InputError(
                f"adapter: {folder} was trained with another {name}, which is drawn at random; "
                "give the same --init_seed, or another --output_dir"
            )
    return tensors


def copy_values(
    values: Mapping[str, Tensor], tensors: Mapping[str, Tensor], source: str | Path
) -> None:
    """Copy tensors into values of the same names and shapes.

    Raises:
        InputError: if names or shapes differ; nothing is copied then.
    """
    check_shapes({name: value.shape for name, value in values.items()}, tensors, source)
    with torch.no_grad():
        for name, value in values.items():
            value.copy_(tensors[name])


def check_shapes(
    wanted: Mapping[str, Sequence[int]], found: Mapping[str, Tensor], source: str | Path
) -> None:
    """Refuse saved values that are not of the names and shapes asked for.

    Args:
        wanted: name -> shape.
        found: name -> saved value.
        source: where the values were found, for the message.

    Raises:
        InputError: if names or shapes differ.
    """
    asked = {name: tuple(shape) for name, shape in wanted.items()}
    held = {name: tuple(value.shape) for name, value in found.items()}
    if asked != held:
        raise InputError(f"adapter: {source} holds {held}, asked for are {asked}")
