"""Files: every mistake is found and named with its place."""

import csv
import io
import json
import pickle
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adept_llm.data.json_lines import JsonLines
from adept_llm.data.rows import read_rows
from adept_llm.errors import InputError

# All that UTF-8 can hold, line separators such as U+2028 and \x0b included.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
# In CSV a line break within a field is kept as it is, but NUL is no text.
CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(rows=st.lists(st.dictionaries(TEXT, TEXT, max_size=3), min_size=1, max_size=5))
@pytest.mark.parametrize("ascii_only", [True, False])
def test_jsonl_comes_back(tmp_path_factory, rows, ascii_only):
    """With the right line numbers: splitting at U+2028 would break rows and shift them."""
    path = tmp_path_factory.getbasetemp() / "rows.jsonl"
    text = "\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in rows)
    path.write_bytes(text.encode())
    read = read_rows(path)
    assert [row.values for row in read] == rows
    assert [row.id for row in read] == [f"rows.jsonl:{n}" for n in range(1, len(rows) + 1)]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(rows=st.lists(st.tuples(CELL, CELL), min_size=1, max_size=5))
def test_csv_comes_back(tmp_path_factory, rows):
    """Commas, quotes and line breaks within fields included; lines are where a row begins."""
    path = tmp_path_factory.getbasetemp() / "rows.csv"
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow(["a", "b"])
    writer.writerows(rows)
    path.write_bytes(text.getvalue().encode())
    read = read_rows(path)
    assert [tuple(row.values.values()) for row in read] == rows
    lines = text.getvalue().replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for row in read:
        number = int(row.id.split(":")[1])
        assert lines[number - 1].startswith('"')


def test_json_and_parquet_count_rows(tmp_path):
    """From 1, as jsonl counts lines."""
    import pyarrow
    from pyarrow import parquet

    rows = [{"a": "x", "b": None}, {"a": "y", "b": "z"}]
    (tmp_path / "d.json").write_text(json.dumps(rows, indent=1))
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "d.parquet")
    for name in ("d.json", "d.parquet"):
        read = read_rows(tmp_path / name)
        assert [row.values for row in read] == rows
        assert [row.id for row in read] == [f"{name}:1", f"{name}:2"]
        assert read[1].where == f"{tmp_path / name} row 2"


def test_blank_lines_count_but_hold_no_row(tmp_path):
    """The named line must be the editor's."""
    (tmp_path / "d.jsonl").write_text('\n{"a": 1}\n\n{"a": 2}\n')
    assert [row.id for row in read_rows(tmp_path / "d.jsonl")] == ["d.jsonl:2", "d.jsonl:4"]
    (tmp_path / "d.csv").write_text('a,b\n\n"1\n1",2\n3,4\n')
    assert [row.id for row in read_rows(tmp_path / "d.csv")] == ["d.csv:3", "d.csv:5"]


def test_excels_byte_order_mark_is_no_part_of_a_column(tmp_path):
    """Otherwise the first column would be 'unknown' and look right."""
    (tmp_path / "d.csv").write_bytes(b"\xef\xbb\xbfa,b\n1,2\n")
    assert read_rows(tmp_path / "d.csv")[0].values == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("d.jsonl", b'{"a": 1}\n{"a": \n', r"d\.jsonl:2: broken JSON: Expecting value \(column"),
        ("d.jsonl", b'{"a": 1}\n[1]\n', r"d\.jsonl:2: must be a JSON object, not list"),
        ("d.jsonl", b'{"a": 1}\n{"a": "\xff"}\n', r"d\.jsonl:2: not UTF-8"),
        ("d.jsonl", b"[" * 100_000, r"d\.jsonl:1: broken JSON"),
        ("d.jsonl", b"\n\n", r"d\.jsonl: the file has no rows"),
        ("d.jsonl", b"", r"d\.jsonl: the file has no rows"),
        ("d.json", b'[\n{"a": 1},\n{"a" 2}]', r"d\.json:3: broken JSON"),
        ("d.json", b'{"a": 1}', r"d\.json: must be a list of objects"),
        ("d.json", b'[{"a": 1}, 2]', r"d\.json row 2: must be a JSON object, not int"),
        ("d.json", b"[]", r"d\.json: the file has no rows"),
        ("d.csv", b"a,b\n1,2\n3\n", r"d\.csv:3: 1 fields, but the header has 2"),
        ("d.csv", b"a,b\n1,2\n3,4,5\n", r"d\.csv:3: 3 fields, but the header has 2"),
        ("d.csv", b'a,b\n1,2\n3,"4\n5\n', r"d\.csv:3: broken CSV"),
        ("d.csv", b"a,a\n1,2\n", r"d\.csv:1: a column name occurs twice"),
        ("d.csv", b"a,b\n1,\xe9\n", r"d\.csv:2: not UTF-8"),
        ("d.csv", b"a,b\n", r"d\.csv: the file has no rows"),
        ("d.parquet", b"no parquet", r"d\.parquet: broken Parquet"),
        ("d.parquet", b"", r"d\.parquet: broken Parquet"),
        ("d.txt", b"a", r"d\.txt: unknown kind of file; known: \.jsonl, \.json, \.csv, \.parquet"),
    ],
)
def test_bad_files_are_named_with_the_place(tmp_path, name, content, message):
    """In one line; a traceback would help nobody who has a file to mend."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        list(read_rows(tmp_path / name))
    assert "\n" not in str(error.value)


def test_parquet_whose_text_is_no_text_is_named_with_row_and_column(tmp_path):
    """Some writers put other bytes there; read among others, the row is still found."""
    import pyarrow
    from pyarrow import parquet

    bad = pyarrow.array([b"x", b"\xff", b"y"]).view(pyarrow.string())
    good = pyarrow.array(["a", "b", "c"])
    parquet.write_table(pyarrow.table({"prompt": good, "completion": bad}), tmp_path / "d.parquet")
    rows = read_rows(tmp_path / "d.parquet")
    assert rows[2].values == {"prompt": "c", "completion": "y"}
    with pytest.raises(InputError, match=r"d\.parquet row 2: column 'completion': not UTF-8$"):
        rows.read([0, 1, 2])


def test_a_parquet_file_that_breaks_off_while_it_is_read_is_named(tmp_path):
    """Arrow's own errors are of many classes, and none says which file."""
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"a": ["x"]}), tmp_path / "d.parquet")
    with pytest.raises(InputError, match=r"d\.parquet: cannot be read: .*out of bounds"):
        read_rows(tmp_path / "d.parquet").read([7])


def test_a_long_field_of_csv_is_read(tmp_path):
    """As it is of every other kind of file; Python's reader stops at 131,072 characters."""
    text = "word " * 40_000
    (tmp_path / "d.csv").write_text(f"prompt,completion\n{text},yes\n")
    (row,) = read_rows(tmp_path / "d.csv")
    assert row.values == {"prompt": text, "completion": "yes"}


def test_a_missing_file(tmp_path):
    """Is named in full."""
    with pytest.raises(InputError, match=r"gone\.jsonl: there is no such file"):
        read_rows(tmp_path / "gone.jsonl")


LINE = st.sampled_from([b"", b" ", b"\t \r", b'{"a": 1}', b' {"a": "\xe2\x80\xa8"} ', b"{}\r"])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(lines=st.lists(LINE, max_size=9), mark=st.booleans(), end=st.booleans())
@pytest.mark.parametrize("block", [1, 7, 1 << 22])
def test_lines_begin_where_they_are_read(tmp_path_factory, lines, mark, end, block):
    """However the file is cut into blocks: a row of the wrong bytes would be trained on."""
    path = tmp_path_factory.getbasetemp() / "lines.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" * mark + b"\n".join(lines) + b"\n" * end)
    expected = {n: json.loads(line) for n, line in enumerate(lines, 1) if line.strip()}
    with patch("adept_llm.data.json_lines.BLOCK", block):
        rows = JsonLines(path)
    assert {int(row.id.split(":")[1]): row.values for row in rows} == expected
    assert len(rows) == len(expected)


def test_rows_are_read_by_their_numbers_in_any_process(tmp_path):
    """In any order, again and again, and by a copy that was sent elsewhere."""
    import pyarrow
    from pyarrow import parquet

    rows = [{"a": n} for n in range(9)]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, rows)))
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "d.parquet")
    for name in ("d.jsonl", "d.parquet"):
        read = read_rows(tmp_path / name)
        assert read[-1].values == rows[-1] and read[0].values == rows[0]
        again = pickle.loads(pickle.dumps(read))
        for one in (read, again):
            assert [row.values["a"] for row in one.read([5, 2, 5])] == [5, 2, 5]
            assert [row.id for row in one[7:]] == [f"{name}:8", f"{name}:9"]
        with pytest.raises(IndexError):
            read[9]


def test_a_row_is_parsed_when_it_is_asked_for(tmp_path):
    """A split of a thousand rows parses a thousand of a million."""
    (tmp_path / "d.jsonl").write_text('{"a": 1}\nbroken\n')
    read = read_rows(tmp_path / "d.jsonl")
    assert len(read) == 2 and read[0].values == {"a": 1}
    with pytest.raises(InputError, match=r"d\.jsonl:2: broken JSON"):
        read[1]
