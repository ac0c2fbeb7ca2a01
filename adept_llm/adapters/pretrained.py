"""What stock programs find in an injected model: what saves, loads and resizes it.

transformers.Trainer saves by `model.save_pretrained`, and on resuming, and for the best checkpoint,
reads `model.safetensors` back without strictness. So that file holds the adapter's values under the
model's names, beside the two files that `load_adapter` reads. No row of the base is written.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any

from torch import Tensor

from adept_llm.adapters.layer import AdeptEmbedding, get_adapter
from adept_llm.adapters.saved import CONFIG_FILE, adapter_files, check_whole
from adept_llm.errors import InputError
from adept_llm.files import write_files

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MODEL_FILE = "model.safetensors"
OF_ADAPTER = re.compile(r"(^|\.)(prompt|offset)\.")


def save_as_adapter(model: "PreTrainedModel") -> None:
    """Let save_pretrained of an injected model write the adapter, and loads expect no more."""
    model.save_pretrained = MethodType(save_pretrained, model)  # type: ignore[method-assign]
    hook = model.register_load_state_dict_post_hook(_expect_no_base)  # type: ignore[no-untyped-call]
    get_adapter(model).hooks.append(hook)


def make_stock(model: "PreTrainedModel") -> None:
    """Take away what injection added to the model itself; its embedding layer has to be there."""
    for name in ("save_pretrained", "resize_token_embeddings"):
        model.__dict__.pop(name, None)
    for hook in get_adapter(model).hooks:
        hook.remove()


def save_pretrained(
    model: "PreTrainedModel",
    save_directory: str | Path,
    is_main_process: bool = True,
    state_dict: Mapping[str, Tensor] | None = None,
    push_to_hub: bool = False,
    **others: Any,
) -> None:
    """Write the adapter as `save_adapter` does, and `model.safetensors` for Trainer to read back.

    Args:
        model: an injected model.
        save_directory: created where it is missing.
        is_main_process: whether this process writes.
        state_dict: the model's values by its own names, where they are split over processes.
        push_to_hub: refused.
        others: of stock save_pretrained, such as the size of shards: without effect on one file.

    Raises:
        InputError: if it is to be pushed, the adapter is split over ranks, or the folder holds the
            weights of a model.
    """
    from safetensors.torch import save

    if push_to_hub:
        raise InputError("push_to_hub: save the adapter, and upload the folder by `hf upload`")
    if not is_main_process:
        return
    adapter = get_adapter(model)
    path = _path_of(model, adapter)
    _check_no_model(Path(save_directory))
    values: dict[str, Tensor] = dict(adapter.trained_parameters())
    if state_dict is not None:
        values = {name: state_dict.get(path + name, value) for name, value in values.items()}
    check_whole(adapter, values)
    files = adapter_files(adapter, values)
    all_values = {**values, **adapter.frozen_values()}
    named = {path + name: v.detach().cpu().contiguous() for name, v in all_values.items()}
    files[MODEL_FILE] = save(named, metadata={"format": "pt"})
    write_files(Path(save_directory), files)


def resize_token_embeddings(
    model: "PreTrainedModel",
    new_num_tokens: int | None = None,
    pad_to_multiple_of: int | None = None,
    mean_resizing: bool = True,
) -> Any:
    """In the place of resize_token_embeddings of an injected model, whose table is frozen.

    Args:
        model: an injected model.
        new_num_tokens: rows of the table, which have to be those that it has.
        pad_to_multiple_of: as in stock resizing, which makes the rows more.
        mean_resizing: without effect.

    Returns:
        The embedding layer.

    Raises:
        InputError: for another size.
    """
    layer: Any = model.get_input_embeddings()
    rows = layer.table.vocab_size
    if new_num_tokens in (None, rows) and rows % (pad_to_multiple_of or 1) == 0:
        return layer
    raise InputError(
        "resize_token_embeddings: the table is frozen and has an adapter; resize the base model "
        "before the adapter is put in"
    )


def _check_no_model(folder: Path) -> None:
    """Refuse to overwrite the weights of a model, such as the base's own.

    Raises:
        InputError: for a model's shards, or a file that holds more than an adapter.
    """
    from safetensors import SafetensorError, safe_open

    found = folder / f"{MODEL_FILE}.index.json"
    if not found.exists():
        found = folder / MODEL_FILE
        try:
            with safe_open(found, framework="pt") as file:
                if all(OF_ADAPTER.search(name) for name in file.keys()):
                    return
        except FileNotFoundError:
            return
        except SafetensorError:  # damaged: whose it was is told by what lies beside it
            if (folder / CONFIG_FILE).exists():
                return
    raise InputError(
        f"save_pretrained: {found} holds the weights of a model, which the adapter would replace; "
        "name another folder"
    )


def _path_of(model: "PreTrainedModel", adapter: AdeptEmbedding) -> str:
    """What stands before the adapter's names in the model's, such as `model.embed_tokens.`."""
    return next(f"{path}." for path, module in model.named_modules() if module is adapter)


def _expect_no_base(model: Any, found: Any) -> None:
    """Where a state holds the adapter and nothing of the base, the base is not missing."""
    adapter = get_adapter(model)
    path = _path_of(model, adapter)
    own = {path + name for name in adapter.saved_values()}
    if set(found.missing_keys) == set(model.state_dict()) - own:
        found.missing_keys.clear()
