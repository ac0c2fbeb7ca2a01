"""A merged model, written file by file as its base lies there: shards, dtype and tokenizer stay.

Only the table and the head are computed; everything else is copied, so that memory holds one table.
"""

import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from adept_llm.adapters import AdeptEmbedding, BaseTable
from adept_llm.adapters.frozen_table import root_mean_square
from adept_llm.adapters.merge import (
    check_mergeable,
    merged_blocks,
    tokenizer_with_virtual_tokens,
)
from adept_llm.adapters.saved import copy_values, read_adapter
from adept_llm.adapters.virtual_head import VirtualRow
from adept_llm.base.loading import TERMS
from adept_llm.base.weight_files import INDEX, WEIGHTS
from adept_llm.errors import InputError
from adept_llm.export.card import write_merged_card
from adept_llm.export.configurations import write_configurations
from adept_llm.export.safetensors_files import (
    DTYPES,
    Stored,
    Written,
    copy_with,
    read_header,
    row_blocks,
)
from adept_llm.export.stored_base import StoredBase
from adept_llm.export.streamed import streamed_row
from adept_llm.tuned import Tuned

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)

BLOCK_ROWS = 4096
# what servers and converters read beside weights, configuration and tokenizer.json
COPIED = ("tokenizer.model", *TERMS)
ADDED_TOKENS = "added_tokens.json"


def merge_stored(tuned: Tuned, base: StoredBase, target: Path, copies: int = 1) -> None:
    """Write base and adapter as a stock folder.

    Args:
        tuned: The adapter, and what its base is called.
        base: That base.
        target: An empty folder.
        copies: How often the disk has to hold it, as where it is converted afterwards.

    Raises:
        InputError: for an adapter of another base or one that no table holds, a tokenizer larger
            than the table, and a disk that is too small.
    """
    check_mergeable(tuned.config)
    adapter = adapter_over(base.read_table(), tuned)
    m = adapter.config.num_virtual_tokens
    tokenizer = tokenizer_with_virtual_tokens(tuned.tokenizer, adapter)
    write_configurations(base, target, m)
    check_room(base, m, target, copies)
    virtual = streamed_row(tuned, base, adapter, m)
    write_weights(base, target, m, merged_blocks(adapter), virtual)
    write_tokenizer(tokenizer, len(tuned.tokenizer), base.folder, target)
    write_merged_card(tuned, target, virtual)


def adapter_over(weight: Tensor, tuned: Tuned) -> AdeptEmbedding:
    """An adapter over a table [V, d], which is not copied; in evaluation mode.

    Raises:
        InputError: for an adapter of another base.
    """
    config, table, tensors = read_adapter(tuned.folder)
    table.check_same(BaseTable(len(weight), weight.shape[1], root_mean_square(weight)))
    adapter = AdeptEmbedding(nn.Embedding.from_pretrained(weight), config, table)
    copy_values(adapter.saved_values(), tensors, tuned.folder)
    return adapter.eval()


def check_room(base: StoredBase, more: int, target: Path, copies: int = 1) -> None:
    """Refuse a disk on which a base would not fit with a longer table and a head of its own.

    Args:
        base: The base.
        more: Rows that come behind its table.
        target: Where to.
        copies: How often.

    Raises:
        InputError: saying what is needed and what is there.
    """
    size = sum(one.size for tensors in base.files.values() for one in tensors.values())
    rows = base.rows
    own_head = rows if base.tensor(base.head) is None else 0
    need = copies * (size + base.stored_table.size // rows * (own_head + 2 * more))
    free = shutil.disk_usage(target).free
    if need > free:
        raise InputError(
            f"output_dir: the model needs {need / 1e9:.1f} GB, {target.parent} has "
            f"{free / 1e9:.1f} GB; name a folder with room"
        )


def write_weights(
    base: StoredBase, target: Path, more: int, table: Iterator[Tensor], virtual: VirtualRow
) -> None:
    """Copy a base's weights with another table, and a head that is longer and its own.

    Args:
        base: The base.
        target: A folder.
        more: Rows that come behind the table and the head.
        table: The longer table's rows, in order, in its dtype; read once.
        virtual: What the head says of them.
    """
    if more:
        log.info("%s", virtual)
    for name in base.files:
        changed = changes(base, base.files[name], more, table, virtual)
        copy_with(base.folder / name, target / name, changed)
    write_index(base, target)


def changes(
    base: StoredBase,
    tensors: dict[str, Stored],
    more: int,
    table: Iterator[Tensor],
    virtual: VirtualRow,
) -> dict[str, Written]:
    """What stands in one of the base's files in another form, or is new there.

    Args:
        base: The base; where its head is the table itself, it becomes a tensor of its own.
        tensors: Of the file.
        more: As in `write_weights`.
        table: Likewise.
        virtual: Likewise.
    """
    found = {}
    if base.table in tensors:
        stored = tensors[base.table]
        shape = (stored.shape[0] + more, *stored.shape[1:])
        found[base.table] = Written(stored.dtype, shape, table)
    bias = base.head.removesuffix("weight") + "bias"
    longer = {name: tensors[name] for name in (base.head, bias) if name in tensors}
    # a tied head that is stored all the same keeps its place, in whichever file
    if base.tied and (
        base.head in longer or (base.table in tensors and not base.tensor(base.head))
    ):
        longer[base.head] = base.stored_table
    for name, one in longer.items():
        row = virtual.row if name == base.head else torch.tensor(virtual.bias)
        rows = lengthened(one, more, row.to(DTYPES[one.dtype])[None])
        found[name] = Written(one.dtype, (one.shape[0] + more, *one.shape[1:]), rows)
    return found


def lengthened(stored: Stored, more: int, row: Tensor) -> Iterator[Tensor]:
    """The rows of a stored tensor, and one row [1, ..] so many times behind them."""
    for first, last in row_blocks(stored.shape[0], BLOCK_ROWS):
        yield stored.rows(first, last)
    if more:
        yield row.expand(more, *row.shape[1:])


def write_index(base: StoredBase, target: Path) -> None:
    """The index of a base of several files, with the new sizes and names."""
    if list(base.files) == [WEIGHTS]:
        return
    content = json.loads((base.folder / INDEX).read_bytes())
    tensors = {
        name: (file, one.size)
        for file in base.files
        for name, one in read_header(target / file)[0].items()
    }
    content["weight_map"] = {name: file for name, (file, _) in sorted(tensors.items())}
    content.setdefault("metadata", {})["total_size"] = sum(size for _, size in tensors.values())
    (target / INDEX).write_text(json.dumps(content, indent=2) + "\n")


def write_tokenizer(
    tokenizer: "PreTrainedTokenizerBase", known: int, source: Path, target: Path
) -> None:
    """A tokenizer, and the files that other programs read instead.

    llama.cpp's converter takes tokenizer.model where there is one, with the ids of further tokens
    from added_tokens.json; without them it reads tokenizer.json of a SentencePiece model wrongly.

    Args:
        tokenizer: With the virtual tokens.
        known: Tokens of the base's.
        source: The base's folder.
        target: Where to.
    """
    save_tokenizer(tokenizer, target)
    for pattern in COPIED:
        for path in source.glob(pattern):
            shutil.copyfile(path, target / path.name)
    more = {name: i for name, i in tokenizer.get_added_vocab().items() if i >= known}
    if more:
        own = source / ADDED_TOKENS
        ids = (json.loads(own.read_bytes()) if own.is_file() else {}) | more
        (target / ADDED_TOKENS).write_text(json.dumps(ids, indent=2) + "\n", "utf-8")


def save_tokenizer(tokenizer: "PreTrainedTokenizerBase", target: Path) -> None:
    """A tokenizer as every version of transformers reads it.

    Those before 5 rebuild a LlamaTokenizer from its parts, and what stands in front of texts is
    lost: the class that reads tokenizer.json as it stands keeps it.
    """
    tokenizer.save_pretrained(target)
    path = target / "tokenizer_config.json"
    content = json.loads(path.read_bytes())
    content["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


def as_stored(tuned: Tuned) -> Tuned:
    """With the base as it lies in its files.

    A table that holds the adapter belongs to the base before its quantisation; and nothing is
    computed, so that float16 needs no other dtype, as it does for training.
    """
    stored = getattr(tuned.base_config, "dtype", None)
    if tuned.dtype == "auto" and stored is not None:
        tuned = replace(tuned, dtype=str(stored).removeprefix("torch."))
    return replace(tuned, quantization="none")
