"""What an adapter did to the words: how far it moved them, and which ones its prompt is near."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from adept_llm.adapters import read_adapter
from adept_llm.adapters.layer import AdeptEmbedding, layer_over
from adept_llm.adapters.methods import METHODS
from adept_llm.adapters.saved import CONFIG_FILE, WEIGHTS_FILE, copy_values
from adept_llm.base.loading import load_tokenizer
from adept_llm.base.table import read_table
from adept_llm.report.runs import Run

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SLAB = 4096
MOST_MOVED = 12
NEAREST = 3
QUANTILES = (0.05, 0.5, 0.95, 1.0)


@dataclass(frozen=True)
class Near:
    """A word near a virtual token, with the cosine between them."""

    word: str
    cosine: float


@dataclass(frozen=True)
class Words:
    """What was found.

    Attributes:
        sizes: Root mean square of each word's offset over the width, in units of the table's: 1 is
            as large as a typical row. Ascending, [V]; by position for an offset by position, [s];
            empty for a method without one.
        by_position: Whether the offset is of positions, so that no word is moved more than another.
        moved: The words with the largest offsets and their sizes, the largest first.
        nearest: For each virtual token the nearest words, the nearest first.
    """

    sizes: tuple[float, ...]
    by_position: bool
    moved: tuple[tuple[str, float], ...]
    nearest: tuple[tuple[Near, ...], ...]

    def quantile(self, share: float) -> float:
        """The size that so large a share of words does not exceed."""
        return self.sizes[min(len(self.sizes) - 1, int(share * len(self.sizes)))]


def has_adapter(folder: Path) -> bool:
    """Whether a run left an adapter of this package."""
    return (folder / CONFIG_FILE).is_file() and (folder / WEIGHTS_FILE).is_file()


def read_words(run: Run, base: str | None = None) -> Words:
    """Compare a run's adapter with its base's table.

    Args:
        run: With an adapter.
        base: Name or folder of the base, if it has moved; default: the one the adapter names.

    Raises:
        InputError: if the adapter is damaged, or its base is not on this machine.
    """
    config, table, tensors = read_adapter(run.folder)
    name = base or table.name_or_path or run.base
    revision = None if base else table.revision  # which says nothing of another base
    weight = read_table(name, revision, table)
    frozen = layer_over(nn.Parameter(weight, False), nn.Embedding)
    layer = AdeptEmbedding(frozen, config, table).eval()
    copy_values(layer.saved_values(), tensors, run.folder)
    tokenizer = load_tokenizer(name, revision)

    def words(ids: Sequence[int]) -> list[str]:
        return [word_of(tokenizer, i) for i in ids]

    with torch.no_grad():
        by_position = METHODS[config.method].offset.needs_positions
        count = config.offset_positions if by_position else table.vocab_size
        sizes = offset_sizes(layer, count, by_position)
        moved: list[tuple[str, float]] = []
        if len(sizes) and not by_position:
            top = sizes.topk(min(MOST_MOVED, len(sizes)))
            moved = list(zip(words(top.indices.tolist()), top.values.tolist(), strict=True))
        cosines, ids = nearest_words(layer)
    nearest = (
        tuple(Near(word, cosine) for word, cosine in zip(words(row), values, strict=True))
        for row, values in zip(ids, cosines, strict=True)
    )
    ordered = tuple(sizes.sort().values.tolist())
    return Words(ordered, by_position, tuple(moved), tuple(nearest))


def offset_sizes(layer: AdeptEmbedding, count: int, by_position: bool) -> Tensor:
    """Root mean square over the width of each word's or position's offset / u, [count] or [0]."""
    found = []
    for start in range(0, count, SLAB):
        ids = torch.arange(start, min(start + SLAB, count))
        words, positions = (torch.zeros_like(ids), ids) if by_position else (ids, None)
        rows = layer.base(words).to(layer.work_dtype) / layer.table.rms
        offset = layer.offset(rows, words, positions)
        if offset is None:
            return torch.zeros(0)
        found.append(offset.square().mean(-1).sqrt())
    return torch.cat(found)


def nearest_words(layer: AdeptEmbedding) -> tuple[list[list[float]], list[list[int]]]:
    """Cosines and ids of the words nearest to each row of P, [m][NEAREST] each."""
    prompt = nn.functional.normalize(layer.prompt_rows(torch.float32), dim=-1)  # [m, d]
    if not len(prompt):
        return [], []
    slabs = [
        prompt @ nn.functional.normalize(part.detach().float(), dim=-1).T
        for part in layer.weight.split(SLAB)
    ]
    top = torch.cat(slabs, 1).topk(min(NEAREST, layer.table.vocab_size))
    return top.values.tolist(), top.indices.tolist()


def word_of(tokenizer: "PreTrainedTokenizerBase", token: int) -> str:
    """A token as it stands within a text, its blanks to be seen; a part of a character as named."""
    # tokenizers drop the blank in front of a text's first word
    first = tokenizer(":", add_special_tokens=False).input_ids[-1:]
    word = str(tokenizer.decode([*first, token])).removeprefix(str(tokenizer.decode(first)))
    if "\ufffd" in word:
        word = str(tokenizer.convert_ids_to_tokens(token))
    return word.replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥") or "(empty)"
