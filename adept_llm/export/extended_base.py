"""A base with a longer table, which the adapters of all tasks share.

A prompt needs rows that no text reads. Where a base has none, or its head is its table, so that
what changes the table may change the head as well, one copy of it is made: its table has further
rows of zeros with the tokens <|adept_0|>.., and its head is a tensor of its own. Each adapter uses
the first of these rows, as many as it has virtual tokens. The copy knows no adapter: its tokenizer
puts nothing in front of a text.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from adept_llm.adapters import BaseTable
from adept_llm.adapters.frozen_table import root_mean_square
from adept_llm.adapters.merge import virtual_token_names
from adept_llm.base.loading import load_config, load_tokenizer
from adept_llm.errors import InputError
from adept_llm.export.card import write_extended_card
from adept_llm.export.configurations import write_configurations
from adept_llm.export.merged import (
    adapter_over,
    check_room,
    lengthened,
    write_tokenizer,
    write_weights,
)
from adept_llm.export.places import Places, appended_places
from adept_llm.export.stored_base import StoredBase
from adept_llm.export.streamed import streamed_row
from adept_llm.tuned import Tuned

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROWS = 128  # at least, so that adapters with longer prompts fit as well
MULTIPLE = 64  # servers that split a table over devices want its length to be one


def write_extended_base(tuned: Tuned, base: StoredBase, target: Path) -> tuple[int, Places]:
    """Copy a base file by file, with a longer table.

    Args:
        tuned: Names the base; m of its adapter have to fit.
        base: The base.
        target: The folder to make.

    Returns:
        How many rows came behind the table; the tokenizer, and where the prompt has its place.

    Raises:
        InputError: for a disk that is too small, or a tokenizer that cannot be lengthened.
    """
    m = tuned.config.num_virtual_tokens
    more = further_rows(base.rows, m)
    tokenizer, places = appended_places(tuned.tokenizer, base.rows, more, m)
    target.mkdir()
    write_configurations(base, target, more)
    check_room(base, more, target)
    virtual = streamed_row(tuned, base, adapter_over(base.read_table(), tuned), more)
    write_weights(base, target, more, _with_zeros(base, more), virtual)
    write_tokenizer(tokenizer, len(tuned.tokenizer), base.folder, target)
    write_extended_card(tuned, target, more)
    return more, (tokenizer, places)


def further_rows(rows: int, count: int) -> int:
    """How many rows are put behind a table for prompts of up to `count` tokens or `ROWS`."""
    least = rows + max(ROWS, count)
    return -(-least // MULTIPLE) * MULTIPLE - rows


def _with_zeros(base: StoredBase, more: int) -> Iterator[Tensor]:
    """Zeros, so that in any precision a prompt's row is what is added to it."""
    stored = base.stored_table
    return lengthened(stored, more, torch.zeros_like(stored.rows(0, 1)))


def find_extended_base(tuned: Tuned, folder: Path) -> tuple[StoredBase, Places]:
    """An extended base that is there already, and where an adapter's prompt has its place.

    Args:
        tuned: The adapter.
        folder: Of `write_extended_base`, of this or another task.

    Raises:
        InputError: for another base's, one that is too short, or a folder that is none.
    """
    if not (folder / "config.json").is_file():
        what = "has no config.json" if folder.is_dir() else "is no folder here"
        raise InputError(
            f"extended_base: {folder} {what}; name OUTPUT_DIR/base of an earlier export, or leave "
            "it out"
        )
    config = load_config(str(folder))
    base = StoredBase.find(folder, config)
    if base is None or base.config.tie_word_embeddings:
        raise InputError(
            f"extended_base: {folder} has no weights with a table and a head of its own; "
            "leave it out, and a base is written beside the adapter"
        )
    m, table = tuned.config.num_virtual_tokens, tuned.table
    _check_same(table, base)
    if base.rows < table.vocab_size + m:
        raise InputError(
            f"extended_base: {folder} has {base.rows - table.vocab_size} rows for a prompt, the "
            f"adapter needs {m}; leave it out, and a longer one is written beside the adapter"
        )
    tokenizer: PreTrainedTokenizerBase = load_tokenizer(str(folder))
    names = virtual_token_names(tuned.tokenizer, m)
    places = {name: table.vocab_size + i for i, name in enumerate(names)}
    if any(tokenizer.convert_tokens_to_ids(name) != i for name, i in places.items()):
        raise InputError(
            f"extended_base: the tokenizer of {folder} lacks {names[0]}.. behind its "
            f"{table.vocab_size} words; leave it out, and one is written beside the adapter"
        )
    return base, (tokenizer, places)


def _check_same(table: BaseTable, base: StoredBase) -> None:
    """Refuse a base whose first rows are not the table that an adapter was made for."""
    weight = base.read_table()[: table.vocab_size]
    try:
        table.check_same(BaseTable(len(weight), weight.shape[1], root_mean_square(weight)))
    except InputError as error:
        raise InputError(f"extended_base: {base.folder}: {error}") from error
