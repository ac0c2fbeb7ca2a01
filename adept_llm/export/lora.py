"""Format lora: the adapter as an embedding LoRA, which stock servers choose per request.

For a frozen table the offset of all words is a low-rank matrix (ADePT: relu(E W1 + b1) W2 + b2 =
[H, 1] [W2; b2], of rank r + 1), and PEFT's LoRA of an embedding layer is one too: A [k, V] and
B [d, k], whose row of a token is added to the table's. A prompt of m rows takes m further columns,
each for one row of the table that no text reads.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from adept_llm.adapters import AdeptEmbedding
from adept_llm.adapters.merge import check_mergeable, with_prefix
from adept_llm.adapters.saved import CONFIG_FILE, WEIGHTS_FILE
from adept_llm.base.loading import lasting_name
from adept_llm.errors import InputError
from adept_llm.export.card import write_lora_card
from adept_llm.export.extended_base import find_extended_base, write_extended_base
from adept_llm.export.merged import adapter_over, save_tokenizer
from adept_llm.export.options import ExportOptions
from adept_llm.export.places import free_places
from adept_llm.export.safetensors_files import row_blocks
from adept_llm.export.stored_base import StoredBase, find_stored
from adept_llm.files import write_files
from adept_llm.tuned import Tuned

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BASE_FOLDER = "base"
BLOCK_ROWS = 4096


@dataclass(frozen=True)
class Carrier:
    """The model that a LoRA is made for.

    Attributes:
        name: What it is called in the adapter's configuration.
        revision: Its commit on the hub.
        rows: Of its table.
        tokenizer: One that has the places' tokens.
        places: Token -> id of the rows that hold the prompt, in order.
    """

    name: str
    revision: str | None
    rows: int
    tokenizer: "PreTrainedTokenizerBase"
    places: dict[str, int]


def write_lora(tuned: Tuned, options: ExportOptions, target: Path) -> None:
    """Write a PEFT adapter, and where none serves the base that it is for.

    Args:
        tuned: The adapter and its base.
        options: `extended_base` names one that there is already.
        target: An empty folder.

    Raises:
        InputError: for DePT, a base that does not fit or whose files cannot be used, a full disk.
    """
    check_mergeable(tuned.config)
    if tuned.dtype != "auto":
        raise InputError(f"dtype: {tuned.dtype} is given, but a LoRA is fp32; leave it out")
    if options.extended_base:
        base, found = find_extended_base(tuned, options.extended_base)
        carrier = Carrier(str(base.folder.resolve()), None, base.rows, *found)
        table = base.read_table()
        adapter = adapter_over(table[: tuned.table.vocab_size], tuned)
    else:
        base = find_stored(tuned.name_or_path, tuned.revision, tuned.base_config)
        table = base.read_table()
        adapter = adapter_over(table, tuned)
        carrier = _own(tuned, base) or _extended(tuned, base, options.folder, target)
    m, width = len(carrier.places), table.shape[1]
    # rows that an extended base is given are zeros
    held = torch.zeros(m, width, dtype=torch.float64)
    for i, place in enumerate(carrier.places.values()):
        if place < len(table):
            held[i] = table[place]
    a, b = lora_factors(adapter, carrier.rows, list(carrier.places.values()), held)
    write_peft_lora(carrier, base.table.removesuffix(".weight"), a, b, target)
    save_tokenizer(with_prefix(carrier.tokenizer, carrier.places), target)
    write_lora_card(tuned, target, carrier.name, len(a), list(carrier.places.values()))


def _own(tuned: Tuned, base: StoredBase) -> Carrier | None:
    """The base itself, where its table has rows to spare and its head is not the table.

    Programs differ in whether a LoRA of a table moves a head that is the same tensor; PEFT lets the
    head be. Where config.json ties a head that the files hold apart, they differ in that as well.
    """
    if base.config.tie_word_embeddings:
        return None
    found = free_places(tuned.tokenizer, base.rows, tuned.config.num_virtual_tokens)
    name = lasting_name(tuned.name_or_path)
    return Carrier(name, tuned.revision, base.rows, *found) if found else None


def _extended(tuned: Tuned, base: StoredBase, folder: Path, target: Path) -> Carrier:
    """A new base beside the adapter."""
    more, found = write_extended_base(tuned, base, target / BASE_FOLDER)
    return Carrier(str(folder.resolve() / BASE_FOLDER), None, base.rows + more, *found)


@torch.no_grad()
def lora_factors(
    adapter: AdeptEmbedding, rows: int, places: Sequence[int], held: Tensor
) -> tuple[Tensor, Tensor]:
    """A [k + m, V'] and B [d, k + m] in fp32, with E + (B A)^T the adapter's table.

    Args:
        adapter: In evaluation mode.
        rows: V', of the table that they are for.
        places: Ids of the m rows that hold the prompt.
        held: What these rows hold already, [m, d].
    """
    weight, m = adapter.weight, len(places)
    left = torch.zeros(0, rows)
    for first, last in row_blocks(len(weight), BLOCK_ROWS):
        ids = torch.arange(first, last)
        block, right = adapter.offset_factors(weight[first:last], ids)
        if not len(left):
            left = torch.zeros(len(right) + m, rows)
        left[: len(right), first:last] = block.T
    left[:, list(places)] = 0
    left[len(right) :, list(places)] = torch.eye(m)
    prompt = adapter.prompt_rows(held.dtype) - held
    return left, torch.cat([right.to(prompt), prompt]).T.float().contiguous()


def write_peft_lora(carrier: Carrier, layer: str, a: Tensor, b: Tensor, target: Path) -> None:
    """PEFT's two files.

    Args:
        carrier: The model that it is for.
        layer: Path of its embedding layer.
        a: [k, V'].
        b: [d, k].
        target: The folder.
    """
    from safetensors.torch import save

    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "inference_mode": True,
        "base_model_name_or_path": carrier.name, "revision": carrier.revision,
        "r": len(a), "lora_alpha": len(a), "use_rslora": False, "use_dora": False,
        "lora_dropout": 0.0, "bias": "none", "fan_in_fan_out": False, "modules_to_save": None,
        "target_modules": [layer.rsplit(".", 1)[-1]],
    }  # fmt: skip
    prefix = f"base_model.model.{layer}.lora_embedding"
    tensors = {f"{prefix}_A": a, f"{prefix}_B": b}
    write_files(
        target,
        {
            WEIGHTS_FILE: save(tensors, metadata={"format": "pt"}),
            CONFIG_FILE: (json.dumps(config, indent=2) + "\n").encode(),
        },
    )
