"""Files that are copied piece by piece, read back by the library."""

import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from adept_llm.errors import InputError
from adept_llm.export import safetensors_files
from adept_llm.export.safetensors_files import Written, copy_with, read_header, row_blocks


def tensors(dtype=torch.bfloat16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"a.weight": (7, 4), "scalar": (), "empty": (0, 4), "table": (10, 4), "z": (3,)}
    return {n: torch.randn(s, generator=generator).to(dtype) for n, s in shapes.items()}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_copy_has_all_bits_and_what_was_changed(tmp_path, dtype, monkeypatch):
    """In blocks smaller than a tensor too; the metadata stay."""
    monkeypatch.setattr(safetensors_files, "BLOCK", 5)
    given = tensors(dtype)
    save_file(given, tmp_path / "old.safetensors", metadata={"format": "pt"})
    stored, _ = read_header(tmp_path / "old.safetensors")
    table = torch.cat([given["table"] * 2, given["table"][:2]])
    name = stored["table"].dtype
    changed = {
        "table": Written(name, (12, 4), (table[a:b] for a, b in row_blocks(12, 5))),
        "head": Written(name, (2, 4), [given["a.weight"][:2]]),
    }
    copy_with(tmp_path / "old.safetensors", tmp_path / "new.safetensors", changed)
    found = load_file(tmp_path / "new.safetensors")
    expected = {**given, "table": table, "head": given["a.weight"][:2]}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    with safe_open(tmp_path / "new.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


@settings(max_examples=20, deadline=None)
@given(first=st.integers(0, 9), more=st.integers(1, 10))
def test_rows_are_those_of_the_library(tmp_path_factory, first, more):
    """Any span."""
    folder = tmp_path_factory.mktemp("rows")
    given_tensors = tensors()
    save_file(given_tensors, folder / "x.safetensors")
    stored, _ = read_header(folder / "x.safetensors")
    last = min(10, first + more)
    assert torch.equal(stored["table"].rows(first, last), given_tensors["table"][first:last])


def test_what_is_damaged_is_named(tmp_path):
    """Cut short, no such format, and a table of numbers that are no floats."""
    save_file(tensors() | {"int": torch.zeros(2, 2, dtype=torch.int8)}, tmp_path / "x.safetensors")
    whole = (tmp_path / "x.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-3])
    with pytest.raises(InputError, match="cut.safetensors: is cut short"):
        read_header(tmp_path / "cut.safetensors")
    (tmp_path / "no.safetensors").write_bytes(b"PK\x03\x04" * 9)
    with pytest.raises(InputError, match="no.safetensors: cannot be read"):
        read_header(tmp_path / "no.safetensors")
    stored, _ = read_header(tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="holds a table in I8"):
        stored["int"].rows(0, 1)


@pytest.mark.parametrize(
    "header",
    ["[]", "1", '{"a": 1}', '{"a": {"dtype": "F32"}}', '{"a": []}',
     '{"a": {"dtype": "F32", "shape": 1, "data_offsets": [0, 4]}}',
     '{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}',
     '{"a": {"dtype": "F32", "shape": [1], "data_offsets": "x"}}'],
)  # fmt: skip
def test_a_header_of_another_form_is_damaged(tmp_path, header):
    """Else it is a traceback."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode() + bytes(8))
    with pytest.raises(InputError, match="x.safetensors: cannot be read .*copy the base again"):
        read_header(path)


def test_pieces_that_are_not_the_whole_tensor_are_a_mistake_of_ours(tmp_path):
    """And would shift all that follows."""
    save_file(tensors(), tmp_path / "x.safetensors")
    short = {"table": Written("BF16", (12, 4), [tensors()["table"]])}
    with pytest.raises(AssertionError, match="whole tensor"):
        copy_with(tmp_path / "x.safetensors", tmp_path / "y.safetensors", short)
