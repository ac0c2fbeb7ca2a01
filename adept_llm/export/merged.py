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
    virtual_token_name,
)
from adept_llm.adapters.saved import copy_values, read_adapter
from adept_llm.adapters.virtual_head import VirtualRow
from adept_llm.base.table import INDEX
from adept_llm.errors import InputError
from adept_llm.export.card import model_card
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
COPIED = ("tokenizer.model", "LICENSE*", "NOTICE*", "USE_POLICY*")
ADDED_TOKENS = "added_tokens.json"


def merge_stored(tuned: Tuned, base: StoredBase, target: Path) -> None:
    """Write base and adapter as a stock folder.

    Args:
        tuned: The adapter, and what its base is called.
        base: That base.
        target: An empty folder.

    Raises:
        InputError: for an adapter of another base or one that no table holds, and for a disk that
            is too small.
    """
    check_mergeable(tuned.config)
    adapter = stored_adapter(tuned, base)
    check_room(base, adapter, target)
    tied = bool(tuned.base_config.tie_word_embeddings)
    virtual = streamed_row(tuned, base, adapter)
    log.info("%s", virtual)
    for name in base.files:
        changed = changes(adapter, base, base.files[name], tied, virtual)
        copy_with(base.folder / name, target / name, changed)
    write_index(base, target)
    write_configurations(tuned, adapter, base.folder, target)
    write_tokenizer(tuned.tokenizer, adapter, base.folder, target)
    (target / "README.md").write_text(model_card(tuned, virtual), "utf-8")


def stored_adapter(tuned: Tuned, base: StoredBase) -> AdeptEmbedding:
    """The adapter over the stored table, which is read where it is asked for.

    Raises:
        InputError: for an adapter of another base.
    """
    from safetensors import safe_open

    stored = base.tensor(base.table)
    assert stored is not None
    with safe_open(stored.file, framework="pt") as file:
        weight: Tensor = file.get_tensor(base.table)  # a map of the file, no copy
    config, table, tensors = read_adapter(tuned.folder)
    table.check_same(BaseTable(len(weight), weight.shape[1], root_mean_square(weight)))
    adapter = AdeptEmbedding(nn.Embedding.from_pretrained(weight), config, table)
    copy_values(adapter.saved_values(), tensors, tuned.folder)
    return adapter.eval()


def check_room(base: StoredBase, adapter: AdeptEmbedding, target: Path) -> None:
    """Refuse a disk on which the model would not fit, before hours of writing.

    Raises:
        InputError: saying what is needed and what is there.
    """
    size = sum(one.size for tensors in base.files.values() for one in tensors.values())
    weight = adapter.base.weight
    need = size + 2 * weight.element_size() * weight[0].numel() * (
        len(weight) * (base.tensor(base.head) is None) + adapter.config.num_virtual_tokens
    )
    free = shutil.disk_usage(target).free
    if need > free:
        raise InputError(
            f"output_dir: the merged model needs {need / 1e9:.1f} GB, {target} has "
            f"{free / 1e9:.1f} GB; name a folder with room"
        )


def changes(
    adapter: AdeptEmbedding,
    base: StoredBase,
    tensors: dict[str, Stored],
    tied: bool,
    virtual: VirtualRow,
) -> dict[str, Written]:
    """What stands in one of the base's files in another form, or is new there.

    Args:
        adapter: What is merged.
        base: The base.
        tensors: Of the file.
        tied: Whether the head is the table itself; it then becomes a tensor of its own.
        virtual: The head's row for virtual tokens.
    """
    m, found = adapter.config.num_virtual_tokens, {}
    if base.table in tensors:
        table = tensors[base.table]
        shape = (table.shape[0] + m, *table.shape[1:])
        found[base.table] = Written(table.dtype, shape, merged_blocks(adapter))
    bias = base.head.removesuffix("weight") + "bias"
    longer = {name: tensors[name] for name in (base.head, bias) if name in tensors}
    # a tied head that is stored all the same keeps its place, in whichever file
    if tied and (base.head in longer or (base.table in tensors and not base.tensor(base.head))):
        one = base.tensor(base.table)
        assert one is not None
        longer[base.head] = one
    for name, one in longer.items():
        more = virtual.row if name == base.head else torch.tensor(virtual.bias)
        pieces = lengthened(one, more, m)
        found[name] = Written(one.dtype, (one.shape[0] + m, *one.shape[1:]), pieces)
    return found


def lengthened(stored: Stored, more: Tensor, times: int) -> Iterator[Tensor]:
    """The rows of a stored tensor, and one so many times more."""
    for first, last in row_blocks(stored.shape[0], BLOCK_ROWS):
        yield stored.rows(first, last)
    if times:
        yield more.to(DTYPES[stored.dtype]).expand(times, *stored.shape[1:])


def write_index(base: StoredBase, target: Path) -> None:
    """The index of a base of several files, with the new sizes and names."""
    if not (base.folder / INDEX).is_file():
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


def write_configurations(tuned: Tuned, adapter: AdeptEmbedding, source: Path, target: Path) -> None:
    """config.json of a longer table and an own head; generation_config.json without P's tokens."""
    from transformers import GenerationConfig

    content = json.loads((source / "config.json").read_bytes())
    content["vocab_size"] = adapter.table.vocab_size + adapter.config.num_virtual_tokens
    content["tie_word_embeddings"] = False
    (target / "config.json").write_text(json.dumps(content, indent=2) + "\n")
    if (source / "generation_config.json").is_file():
        generation = GenerationConfig.from_pretrained(source)
    else:
        generation = GenerationConfig.from_model_config(tuned.base_config)
    if adapter.config.num_virtual_tokens:
        generation.suppress_tokens = [
            *(generation.suppress_tokens or []), *adapter.virtual_token_ids
        ]  # fmt: skip
    generation.save_pretrained(target)


def write_tokenizer(
    tokenizer: "PreTrainedTokenizerBase", adapter: AdeptEmbedding, source: Path, target: Path
) -> None:
    """The tokenizer that writes P by itself, and the files that other programs read instead.

    llama.cpp's converter takes tokenizer.model where there is one, with the ids of further tokens
    from added_tokens.json; without them it reads tokenizer.json of a SentencePiece model wrongly.
    transformers before 5 rebuilds a LlamaTokenizer from its parts, and P is lost: the class that
    reads tokenizer.json as it stands keeps it in all versions.
    """
    merged = tokenizer_with_virtual_tokens(tokenizer, adapter)
    merged.save_pretrained(target)
    for pattern in COPIED:
        for path in source.glob(pattern):
            shutil.copyfile(path, target / path.name)
    m = adapter.config.num_virtual_tokens
    if not m:
        return
    path = target / "tokenizer_config.json"
    content = json.loads(path.read_bytes())
    content["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
    known = len(tokenizer)
    own = source / ADDED_TOKENS
    ids = json.loads(own.read_bytes()) if own.is_file() else {}
    ids |= {name: i for name, i in merged.get_added_vocab().items() if i >= known}
    assert virtual_token_name(m - 1) in ids
    (target / ADDED_TOKENS).write_text(json.dumps(ids, indent=2) + "\n", "utf-8")


def as_stored(tuned: Tuned) -> Tuned:
    """With the base as it lies in its files.

    A table that holds the adapter belongs to the base before its quantisation; and nothing is
    computed, so that float16 needs no other dtype, as it does for training.
    """
    stored = getattr(tuned.base_config, "dtype", None)
    if tuned.dtype == "auto" and stored is not None:
        tuned = replace(tuned, dtype=str(stored).removeprefix("torch."))
    return replace(tuned, quantization="none")
