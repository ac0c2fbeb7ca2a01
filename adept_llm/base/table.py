"""The embedding table of a base that lies on this machine, read without the rest of its weights."""

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from adept_llm.adapters import BaseTable
from adept_llm.adapters.frozen_table import root_mean_square
from adept_llm.base.weight_files import INDEX, WEIGHTS, shard_names
from adept_llm.errors import InputError

# last parts but one of the names that architectures give their input table
LAYERS = ("embed_tokens", "wte", "embed_in", "word_embeddings", "tok_embeddings")
NEAR = 1e-4  # of the rms, as in BaseTable.check_same


def read_table(name_or_path: str, revision: str | None, table: BaseTable) -> Tensor:
    """The frozen table E [V, d] that an adapter was made for, in the dtype that it is stored in.

    Nothing is downloaded: a name of the hub is looked up in the cache.

    Args:
        name_or_path: Folder or hub name of the base.
        revision: The base's commit on the hub.
        table: What is known of E, by which it is recognised.

    Raises:
        InputError: if the weights are not here, not in safetensors, or hold no such table.
    """
    from safetensors import SafetensorError, safe_open

    shape = [table.vocab_size, table.hidden_size]
    try:
        for path in _files(name_or_path, revision):
            with safe_open(path, framework="pt") as file:
                for name in file.keys():
                    if not _is_input(name) or file.get_slice(name).get_shape() != shape:
                        continue
                    found: Tensor = file.get_tensor(name)
                    if abs(root_mean_square(found) - table.rms) <= NEAR * table.rms:
                        return found
    except InputError:
        raise
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"{name_or_path}: its weights cannot be read ({error})") from error
    raise InputError(
        f"{name_or_path}: no embedding table of {shape[0]} rows, width {shape[1]} and rms "
        f"{table.rms:.6g} is in {WEIGHTS} on this machine; copy the base to where the run found it"
    )


def _is_input(name: str) -> bool:
    parts = name.split(".")
    return len(parts) > 1 and parts[-2] in LAYERS and parts[-1] == "weight"


def _files(name_or_path: str, revision: str | None) -> Iterator[Path]:
    """The base's files of weights that are on this machine."""
    whole = _local(name_or_path, revision, WEIGHTS)
    if whole:
        yield whole
        return
    index = _local(name_or_path, revision, INDEX)
    names = shard_names(index) if index else []
    yield from filter(None, (_local(name_or_path, revision, name) for name in names))


def _local(name_or_path: str, revision: str | None, file: str) -> Path | None:
    """A file of a folder, or of the hub's cache."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if Path(name_or_path).is_dir():
        path = Path(name_or_path) / file
        return path if path.is_file() else None
    try:
        found = try_to_load_from_cache(name_or_path, file, revision=revision)
    except HFValidationError:  # a folder of another machine
        return None
    return Path(found) if isinstance(found, str) else None
