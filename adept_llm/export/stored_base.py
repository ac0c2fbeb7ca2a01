"""A base as it lies in its files: which tensors, in which, and which are its table and its head."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adept_llm.base.loading import base_folder
from adept_llm.base.memory import meta_model
from adept_llm.base.weight_files import INDEX, WEIGHTS, shard_names
from adept_llm.errors import InputError
from adept_llm.export.safetensors_files import Stored, read_header, row_blocks

BLOCK_ROWS = 4096


@dataclass(frozen=True)
class StoredBase:
    """A base's weights as files.

    Attributes:
        folder: With config.json and the rest.
        config: What config.json says.
        files: File name -> its tensors by name.
        table: Name of the input table.
        head: Name of the head, which may be missing where it is tied.
    """

    folder: Path
    config: Any
    files: dict[str, dict[str, Stored]]
    table: str
    head: str

    @classmethod
    def find(cls, folder: Path, config: Any) -> "StoredBase | None":
        """The base in a folder; None for one whose table or head has another name in the files.

        GPT-2's files of old leave out a prefix, GPT-NeoX's call the head embed_out.

        Raises:
            InputError: for a shard that is missing or damaged, or a damaged index.
        """
        whole, index = folder / WEIGHTS, folder / INDEX
        # transformers takes the whole file too; beside it an index of older shards may be left
        if whole.is_file():
            names: Sequence[str] = [WEIGHTS]
        elif index.is_file():
            names = shard_names(index)
        else:
            return None
        if missing := [name for name in names if not (folder / name).is_file()]:
            raise InputError(f"{folder}: lacks its shard {missing[0]}; copy the base again")
        files = {name: read_header(folder / name)[0] for name in names}
        model = meta_model(config, torch.bfloat16, 1)
        table = _name_of(model, model.get_input_embeddings())
        head = _name_of(model, model.get_output_embeddings())
        stored = {name for tensors in files.values() for name in tensors}
        if table not in stored or not (config.tie_word_embeddings or head in stored):
            return None
        return cls(folder, config, files, table, head)

    @cached_property
    def tied(self) -> bool:
        """Whether its head is the table itself.

        As transformers 5 has it: where the files hold another head, that one is run, whatever
        config.json says.
        """
        head, table = self.tensor(self.head), self.stored_table
        return bool(self.config.tie_word_embeddings) and (head is None or _equal(head, table))

    @property
    def stored_table(self) -> Stored:
        """The input table."""
        found = self.tensor(self.table)
        assert found is not None
        return found

    @property
    def rows(self) -> int:
        """Of the input table."""
        return self.stored_table.shape[0]

    def read_table(self) -> Tensor:
        """The input table [V, d], a map of its file and no copy."""
        from safetensors import safe_open

        with safe_open(self.stored_table.file, framework="pt") as file:
            found: Tensor = file.get_tensor(self.table)
        return found

    def tensor(self, name: str) -> Stored | None:
        """A tensor by name."""
        return next((each[name] for each in self.files.values() if name in each), None)


def _equal(one: Stored, other: Stored) -> bool:
    return (one.shape, one.dtype) == (other.shape, other.dtype) and all(
        torch.equal(one.rows(*span), other.rows(*span))
        for span in row_blocks(one.shape[0], BLOCK_ROWS)
    )


def _name_of(model: nn.Module, layer: nn.Module) -> str:
    return next(name for name, module in model.named_modules() if module is layer) + ".weight"


def find_stored(name_or_path: str, revision: str | None, config: Any) -> StoredBase:
    """The files of a base, which is downloaded where it is not here.

    Raises:
        InputError: for files that call the table or the head otherwise than the model does.
    """
    base = StoredBase.find(base_folder(name_or_path, revision), config)
    if base is None:
        raise InputError(
            f"model_name_or_path: {name_or_path} has no safetensors whose names are those of the "
            "model; load it with transformers, save_pretrained it, and name that folder"
        )
    return base
