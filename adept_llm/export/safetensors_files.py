"""Safetensors files, copied with some tensors in another form, a few megabytes at a time.

The format (github.com/huggingface/safetensors): eight bytes with the length of a header, the header
in JSON (name -> dtype, shape, data_offsets), then the tensors' bytes one behind the other. The
library writes whole dictionaries of tensors; a shard of a large model is ten gigabytes.
"""

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from adept_llm.base.weight_files import DAMAGES
from adept_llm.errors import InputError

DTYPES = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
BLOCK = 1 << 24  # bytes
METADATA = "__metadata__"


@dataclass(frozen=True)
class Stored:
    """A tensor in a file.

    Attributes:
        file: Where it lies.
        dtype: By the format's name.
        shape: Its own.
        start: Its first byte in the file.
        size: Its bytes.
    """

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int

    def rows(self, first: int, last: int) -> Tensor:
        """Rows first..last-1 of a matrix.

        Raises:
            InputError: for a dtype that is no plain float.
        """
        if self.dtype not in DTYPES:
            raise InputError(f"{self.file}: holds a table in {self.dtype}; take a base in bf16")
        width = self.size // self.shape[0]
        with self.file.open("rb") as file:
            file.seek(self.start + first * width)
            data = bytearray(file.read((last - first) * width))
        flat = torch.frombuffer(data, dtype=DTYPES[self.dtype])
        return flat.view(last - first, *self.shape[1:])


@dataclass(frozen=True)
class Written:
    """A tensor as it shall be written.

    Attributes:
        dtype: By the format's name.
        shape: Its own.
        pieces: Its rows, in order, in that dtype; asked for once.
    """

    dtype: str
    shape: tuple[int, ...]
    pieces: Iterable[Tensor]

    @property
    def size(self) -> int:
        """Its bytes."""
        count = 1
        for length in self.shape:
            count *= length
        return count * DTYPES[self.dtype].itemsize


def read_header(path: Path) -> tuple[dict[str, Stored], Mapping[str, str]]:
    """The tensors of a file by name, in the order of their bytes, and the file's metadata.

    Raises:
        InputError: for a file that is damaged.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            content: dict[str, Any] = json.loads(file.read(length))
        metadata = content.pop(METADATA, {})
        begin, end = 8 + length, 0
        found = {}
        for name, one in sorted(content.items(), key=lambda item: item[1]["data_offsets"]):
            start, end = one["data_offsets"]
            shape = tuple(one["shape"])
            found[name] = Stored(path, one["dtype"], shape, begin + start, end - start)
    except (*DAMAGES, struct.error, MemoryError, OverflowError) as error:
        raise InputError(f"{path}: cannot be read ({error!r}); copy the base again") from error
    if begin + end > path.stat().st_size:
        raise InputError(f"{path}: is cut short; copy the base again")
    return found, metadata


def copy_with(source: Path, target: Path, changed: Mapping[str, Written]) -> None:
    """Copy a file; tensors that are named are written in the given form, new ones behind the rest.

    Args:
        source: A safetensors file.
        target: Where to.
        changed: Name -> what stands in the place of its bytes.
    """
    stored, metadata = read_header(source)
    tensors: dict[str, Stored | Written] = {**stored, **changed}
    header: dict[str, Any] = {METADATA: dict(metadata)} if metadata else {}
    end = 0
    for name, one in tensors.items():
        span = [end, end + one.size]
        header[name] = {"dtype": one.dtype, "shape": list(one.shape), "data_offsets": span}
        end = span[1]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight
    with source.open("rb") as old, target.open("wb") as new:
        new.write(struct.pack("<Q", len(text)) + text)
        for one in tensors.values():
            if isinstance(one, Written):
                _write(new, one)
            else:
                _copy(old, new, one)


def _write(file: BinaryIO, tensor: Written) -> None:
    count = 0
    for piece in tensor.pieces:
        assert piece.dtype == DTYPES[tensor.dtype]
        count += file.write(piece.contiguous().view(torch.uint8).numpy().tobytes())
    assert count == tensor.size, "pieces are not the whole tensor"


def _copy(old: BinaryIO, new: BinaryIO, tensor: Stored) -> None:
    old.seek(tensor.start)
    left = tensor.size
    while left:
        block = old.read(min(BLOCK, left))
        new.write(block)
        left -= len(block)


def row_blocks(count: int, size: int) -> Sequence[tuple[int, int]]:
    """Spans of at most `size` rows that cover `count` of them."""
    return [(first, min(first + size, count)) for first in range(0, count, size)]
