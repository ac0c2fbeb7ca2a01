"""The other way: an adapter of another tool becomes one of this package."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from adept_llm.adapters import AdeptEmbedding, BaseTable
from adept_llm.adapters.foreign import Foreign, read_foreign
from adept_llm.adapters.frozen_table import root_mean_square
from adept_llm.adapters.layer import embed_scale_of
from adept_llm.adapters.saved import adapter_files, copy_values
from adept_llm.base.loading import lasting_name, load_config
from adept_llm.base.memory import meta_model
from adept_llm.errors import InputError
from adept_llm.export.stored_base import find_stored
from adept_llm.files import write_files
from adept_llm.hub import adapter_folder


def read_incoming(source: str, revision: str | None) -> Foreign:
    """An adapter of another tool.

    Args:
        source: Its folder, or its name on the hub.
        revision: Its commit there.

    Raises:
        InputError: if there is none, or it is of this package already.
    """
    folder = adapter_folder(source, revision)
    found = read_foreign(folder)
    if found is None:
        raise InputError(
            f"import: {source} has no adapter_config.json of PEFT or of DePT's or ADePT's authors; "
            "an adapter of adept_llm is used as it is"
        )
    return found


def write_incoming(foreign: Foreign, name_or_path: str, revision: str | None, target: Path) -> None:
    """Write it as `save_adapter` would, for a base.

    Args:
        foreign: The adapter.
        name_or_path: The base, of which the table is read.
        revision: Its commit on the hub.
        target: The folder.

    Raises:
        InputError: for a base of another width, or one that is no decoder.
    """
    config: Any = load_config(name_or_path, revision)
    if getattr(config, "is_encoder_decoder", False):
        raise InputError(
            f"import: {name_or_path} is an encoder-decoder; give a decoder of the same width as "
            "--model_name_or_path, or train one with --prompt_init_adapter"
        )
    weight = find_stored(name_or_path, revision, config).read_table()
    width = foreign.values["prompt.weight"].shape[1]
    if weight.shape[1] != width:
        raise InputError(
            f"import: the adapter's width is {width}, that of {name_or_path} {weight.shape[1]}; "
            "name the base that it was made for as --model_name_or_path"
        )
    rms = root_mean_square(weight)
    table = BaseTable(len(weight), width, rms, lasting_name(name_or_path), revision)
    adapter = AdeptEmbedding(nn.Embedding.from_pretrained(weight), foreign.config, table)
    scale = embed_scale_of(meta_model(config, torch.bfloat16, 1).get_input_embeddings())
    copy_values(adapter.saved_values(), foreign.on_table(scale), target)
    write_files(target, adapter_files(adapter, adapter.trained_parameters()))
