"""The user's own data: three layouts, and the place of each mistake."""

import csv
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adept_llm.data.example import Example
from adept_llm.data.instruction_files import read_instructions, read_requests
from adept_llm.errors import InputError

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
FILLED = TEXT.filter(str.strip)
GOOD = {"instruction": "Say hi.", "input": "", "output": "hi"}


def write(path, rows):
    """Write rows as jsonl."""
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


@settings(max_examples=100, deadline=None, derandomize=True)
@given(rows=st.lists(st.tuples(FILLED, TEXT, FILLED), min_size=1, max_size=5))
@pytest.mark.parametrize("suffix", ["jsonl", "csv", "json", "parquet"])
def test_instructions_come_back(tmp_path_factory, rows, suffix):
    """To the character, in every kind of file."""
    import pyarrow
    from pyarrow import parquet

    path = tmp_path_factory.getbasetemp() / f"instructions.{suffix}"
    names = ("instruction", "input", "output")
    records = [dict(zip(names, row, strict=True)) for row in rows]
    if suffix == "jsonl":
        write(path, records)
    elif suffix == "json":
        path.write_text(json.dumps(records))
    elif suffix == "csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([names, *rows])
    else:
        parquet.write_table(pyarrow.Table.from_pylist(records), path)
    read = read_instructions(path)
    assert [(one.instruction, one.input, one.target) for one in read] == rows


def test_the_input_may_be_left_out(tmp_path):
    """Or null, as Parquet files have it."""
    rows = [{"instruction": "a", "output": "b"}, {**GOOD, "input": None}, GOOD]
    read = read_instructions(write(tmp_path / "d.jsonl", rows))
    assert [one.input for one in read] == ["", "", ""]


def test_prompts_are_bare(tmp_path):
    """A prompt is no instruction: nothing may be added to it."""
    path = write(tmp_path / "d.jsonl", [{"prompt": "2+2=", "completion": "4"}])
    assert read_instructions(path) == [Example("", "2+2=", "4", id="d.jsonl:1")]


def test_conversations(tmp_path):
    """The last answer is the target; a lone question is an instruction."""

    def said(*turns):
        return {"messages": [{"role": role, "content": content} for role, content in turns]}

    rows = [
        said(("user", "2+2?"), ("assistant", "4")),
        said(("system", "Brief."), ("user", "2+2?"), ("assistant", "4")),
        said(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")),
    ]
    first, second, third = read_instructions(write(tmp_path / "d.jsonl", rows))
    assert first == Example("2+2?", "", "4", id="d.jsonl:1")
    assert second.messages == (("system", "Brief."), ("user", "2+2?"))
    assert third.messages == (("user", "a"), ("assistant", "b"), ("user", "c"))
    assert third.target == "d"


def talk(*roles):
    """A conversation of these roles."""
    return {"messages": [{"role": role, "content": "x"} for role in roles]}


@pytest.mark.parametrize(
    "row, message",
    [
        ({"instruction": "a"}, "field 'output' is missing; fields there: instruction"),
        ({"output": "a"}, "field 'instruction' is missing"),
        ({**GOOD, "output": ""}, "field 'output' is empty"),
        ({**GOOD, "output": " \n"}, "field 'output' is empty"),
        ({**GOOD, "instruction": ""}, "field 'instruction' is empty"),
        ({**GOOD, "output": [4]}, "field 'output' must be a string, not list"),
        ({**GOOD, "output": None}, "field 'output' must be a string, not null"),
        ({**GOOD, "input": ["a"]}, "field 'input' must be a string, not list"),
        ({**GOOD, "inputs": "a"}, "unknown column 'inputs' beside instruction, input, output"),
        ({**GOOD, "input": "\ud800"}, "surrogate"),
    ],
)
def test_a_bad_row_is_named_by_line_and_field(tmp_path, row, message):
    """In a file of a million rows nobody finds it otherwise."""
    path = write(tmp_path / "d.jsonl", [GOOD, row])
    with pytest.raises(InputError, match=rf"d\.jsonl:2: .*{message}"):
        read_instructions(path)


@pytest.mark.parametrize(
    "row, message",
    [
        ({"messages": "hi"}, "must be a list of messages"),
        ({"messages": []}, "must be a list of messages"),
        ({"messages": ["hi"]}, "message 1 must have exactly the fields role and content"),
        ({"messages": [{"role": "user"}]}, "message 1 must have exactly"),
        ({"messages": [{"role": "user", "content": 1}]}, "message 1: content must be a string"),
        ({"messages": [{"role": "user", "content": ""}]}, "message 1: content is empty"),
        (talk("user", "bot"), "message 2 has the unknown role 'bot'; known: system, user, assis"),
        (talk("user"), "the last message must be the assistant's"),
        (talk("assistant"), "must take turns"),
        (talk("user", "user", "assistant"), "must take turns"),
        (talk("user", "system", "assistant"), "only the first message may be the system's"),
    ],
)
def test_a_bad_conversation_is_named_by_line_and_message(tmp_path, row, message):
    """Chat templates would fail on it without a place, or worse, not fail."""
    path = write(tmp_path / "d.jsonl", [talk("user", "assistant"), row])
    with pytest.raises(InputError, match=rf"d\.jsonl:2: .*{message}"):
        read_instructions(path)


@pytest.mark.parametrize("row", [{"question": "a", "answer": "b"}, {}])
def test_unknown_columns_name_the_known_ones(tmp_path, row):
    """And those that are there."""
    known = "instruction, input, output or prompt, completion or messages"
    with pytest.raises(InputError, match=rf"d\.jsonl:1: unknown columns: .*; known: {known}"):
        read_instructions(write(tmp_path / "d.jsonl", [row]))


def test_numbers_and_booleans_are_read_as_from_csv(tmp_path):
    """The same table in two formats must not be text in one and a mistake in the other."""
    (tmp_path / "rows.csv").write_text("prompt,completion\n3,true\n0.5,12\n")
    (tmp_path / "rows.jsonl").write_text(
        '{"prompt": 3, "completion": true}\n{"prompt": 0.5, "completion": 12}\n'
    )
    csv, jsonl = (read_instructions(tmp_path / f"rows.{kind}") for kind in ("csv", "jsonl"))
    texts = [(one.input, one.target) for one in jsonl]
    assert texts == [(one.input, one.target) for one in csv] == [("3", "true"), ("0.5", "12")]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_no_answer(tmp_path, value):
    """Pandas writes it where a cell is empty; the word would be learnt."""
    (tmp_path / "d.jsonl").write_text(f'{{"prompt": "a", "completion": {value}}}\n')
    with pytest.raises(InputError, match=r"d\.jsonl:1: field 'completion' is -?(nan|inf); fill it"):
        read_instructions(tmp_path / "d.jsonl")


def test_requests_may_name_an_adapter(tmp_path):
    rows = [{"prompt": "a", "adapter": "x/y"}, {"prompt": "b", "completion": "c"}]
    first, second = read_requests(write(tmp_path / "d.jsonl", rows))
    assert (first.example.input, first.adapter) == ("a", "x/y")
    assert (second.adapter, second.where) == (None, f"{tmp_path / 'd.jsonl'}:2")
    for wrong in ("", 3.5, None):
        path = write(tmp_path / "d.jsonl", [{"prompt": "a", "adapter": wrong}])
        if wrong == 3.5:  # a number is a text, as it is in CSV
            assert read_requests(path)[0].adapter == "3.5"
            continue
        with pytest.raises(InputError, match="field 'adapter'"):
            read_requests(path)


def test_requests_come_from_standard_input(monkeypatch):
    """Line by line, with the line of a mistake."""

    def given(text):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        return read_requests("-")

    (one,) = given('\n{"prompt": "a\u2028b", "adapter": "x"}\n')
    assert (one.example.input, one.example.id, one.where) == ("a\u2028b", "stdin:2", "stdin:2")
    for text, message in [
        ("\n", "stdin: no row came"),
        ('{"prompt": "a"}\n{', "stdin:2: broken JSON"),
        ('{"prompt": "a"}\n{"prompt": 1, "x": 2}\n', "stdin:2: unknown column 'x'"),
    ]:
        with pytest.raises(InputError, match=message):
            given(text)
