"""Arguments from the command line and from files, which say the same in both places."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from adept_llm.cli.parsing import check_output, check_writable, parse
from adept_llm.errors import InputError


@dataclass
class Numbers:
    steps: int = 1
    rate: float = 0.5
    verbose: bool = False
    strategy: str = field(default="no", metadata={"choices": ("no", "yes", "steps")})
    settings: str | None = None


@dataclass
class Launched:
    steps: int = 1
    local_rank: int = -1


@dataclass
class Nested:
    steps: int = 1
    schedule: dict | str | None = None


@dataclass
class Words:
    text: str = "none"
    names: list[str] = field(default_factory=list)


def read(*words):
    return parse((Numbers, Words), list(map(str, words)))


def write(path, content):
    path.write_text(content)
    return path


def test_each_class_gets_its_own():
    numbers, words = read("--steps", 3, "--text", "hello")
    assert (numbers, words) == (Numbers(steps=3), Words(text="hello"))
    assert read() == (Numbers(), Words())


@pytest.mark.parametrize("name", ["run.yaml", "run.yml", "run.json"])
def test_a_file_says_what_the_command_line_says(tmp_path, name):
    content = {"steps": 3, "rate": 1e-5, "verbose": True, "text": "a b", "names": ["x", "y z"]}
    text = json.dumps(content) if name.endswith("json") else yaml.safe_dump(content)
    expected = (Numbers(3, 1e-5, True), Words("a b", ["x", "y z"]))
    assert read(write(tmp_path / name, text)) == expected


def test_what_follows_a_file_overrides_it(tmp_path):
    file = write(tmp_path / "run.yaml", "steps: 3\ntext: file\n")
    numbers, words = read(file, "--steps", 5)
    assert (numbers.steps, words.text) == (5, "file")


def test_a_file_in_another_place_is_a_word(tmp_path):
    assert read("--text", "run.yaml")[1].text == "run.yaml"


@pytest.mark.parametrize(
    ("written", "strategy"), [("no", "no"), ("off", "no"), ("yes", "yes"), ("'no'", "no")]
)
def test_yamls_words_for_false_stay_words_where_words_are_meant(tmp_path, written, strategy):
    file = write(tmp_path / "run.yaml", f"strategy: {written}\nverbose: {written}\n")
    numbers, _ = read(file)
    assert numbers.strategy == strategy and numbers.verbose == (strategy == "yes")


def test_a_mapping_becomes_json(tmp_path):
    file = write(tmp_path / "run.yaml", "settings:\n  zero: {stage: 2}\n  lr: 1.0e-5\n")
    assert json.loads(read(file)[0].settings) == {"zero": {"stage": 2}, "lr": 1e-5}


def test_an_entry_without_a_value_is_left_out(tmp_path):
    assert read(write(tmp_path / "run.yaml", "steps:\ntext: null\n")) == (Numbers(), Words())


# what YAML reads back as the same text, and argparse takes for no option
RATES = st.floats(0, allow_infinity=False)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("C",)), min_size=1).filter(
    lambda text: not text.startswith("-")
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("words")


@settings(max_examples=50, deadline=None)
@given(
    text=TEXTS,
    names=st.lists(TEXTS, min_size=1),
    steps=st.integers(0),
    rate=st.floats(0, allow_infinity=False),
)
def test_any_words_survive_a_file(folder, text, names, steps, rate):
    content = {"text": text, "names": names, "steps": steps, "rate": rate}
    written = {
        "run.yaml": yaml.safe_dump(content),
        "run.json": json.dumps(content, ensure_ascii=False),
    }
    for name, lines in written.items():
        (folder / name).write_text(lines, "utf-8")
        numbers, words = read(folder / name)
        assert (words.text, words.names) == (text, names)
        assert (numbers.steps, numbers.rate) == (steps, rate)


@pytest.mark.parametrize(
    ("value", "expected"),
    [({"text": "\U0001f600"}, "\U0001f600"), ({"settings": {"lr": 1e-05}}, '{"lr": 1e-05}')],
)
def test_json_is_read_as_json(tmp_path, value, expected):
    """Pairs of surrogates are one character, and 1e-05 is a number."""
    numbers, words = read(write(tmp_path / "run.json", json.dumps(value)))
    assert expected in (words.text, numbers.settings)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--stepz", "3"], "stepz"),
        (["--step", "3"], "step"),  # abbreviations would change meaning with a new argument
        (["--steps", "three"], "arguments: .*steps.*three"),
        (["--strategy", "maybe"], "arguments: .*strategy.*maybe"),
        (["--steps"], "arguments: .*steps"),
        (["loose"], "loose"),
    ],
)
def test_words_that_mean_nothing_are_named(words, said):
    with pytest.raises(InputError, match=said) as caught:
        read(*words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "run.yaml: cannot be read .No such file or directory"),
        (b"- steps\n- 3\n", "run.yaml: expected lines 'argument: value'"),
        (b"", "run.yaml: expected lines 'argument: value'"),
        (b"steps: [3\n", "run.yaml: .*line 2"),
        (b"text: \xff\n", "run.yaml: not UTF-8"),
        (b"stepz: 3\n", "stepz"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, content, said):
    if content is not None:
        (tmp_path / "run.yaml").write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        read(tmp_path / "run.yaml")
    assert "\n" not in str(caught.value)


def test_an_output_folder_need_not_exist_and_is_not_made(tmp_path):
    check_writable(tmp_path)
    check_writable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_an_output_folder_that_cannot_be_made_is_refused(tmp_path, monkeypatch):
    write(tmp_path / "file", "")
    with pytest.raises(InputError, match="file is no folder; name another"):
        check_writable(tmp_path / "file" / "run")
    with pytest.raises(InputError, match="give a folder"):
        check_writable("")
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    with pytest.raises(InputError, match="may not be written"):
        check_writable(tmp_path / "run")


def test_an_output_file_is_none_of_those_that_are_read(tmp_path, monkeypatch):
    """Whatever it is called by: rows would be lost, and answers stand in their place."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text("{}\n")
    (tmp_path / "link.jsonl").symlink_to("rows.jsonl")
    for path in ("rows.jsonl", "./rows.jsonl", "link.jsonl"):
        with pytest.raises(InputError, match=f"^output: {path} is what --file names"):
            check_output("output", path, file=str(tmp_path / "rows.jsonl"), text_file=None)
    check_output("output", "other.jsonl", file="rows.jsonl")


def test_an_output_file_must_have_a_place(tmp_path, monkeypatch):
    check_output("output", None)
    check_output("output", str(tmp_path / "new.json"))
    assert not (tmp_path / "new.json").exists()
    for path, said in [
        (tmp_path, "is a folder; name a file in it"),
        (tmp_path / "a" / "b.json", "there is no folder"),
    ]:
        with pytest.raises(InputError, match=f"^output: .*{said}"):
            check_output("output", str(path))
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(InputError, match="cannot be written; name another"):
        check_output("output", str(tmp_path / "new.json"))


@pytest.mark.parametrize(
    ("name", "content", "lines"),
    [
        ("run.yaml", "steps: 3\nrate: 1.0\nsteps: 4\n", ", in lines 1 and 3"),
        ("run.json", '{"steps": 3,\n "steps": 4}', ""),
        ("run.yaml", "settings:\n  a: 1\n  a: 2\n", ", in lines 2 and 3"),
    ],
)
def test_a_name_that_is_given_twice_in_a_file(tmp_path, name, content, lines):
    """YAML and JSON take the last without a word."""
    with pytest.raises(InputError, match=f"is given twice{lines}; leave one out"):
        read(write(tmp_path / name, content))


def test_of_several_files_the_later_one_wins(tmp_path):
    first = write(tmp_path / "first.yaml", "steps: 3\nrate: 0.25\nnames: [a, b]\n")
    second = write(tmp_path / "second.json", '{"steps": 4, "names": ["c"]}')
    numbers, words = read(first, second, "--rate", 2)
    assert (numbers.steps, numbers.rate, words.names) == (4, 2.0, ["c"])
    numbers, words = read(second, first)
    assert (numbers.steps, words.names) == (3, ["a", "b"])


def test_what_a_launcher_puts_in_front_of_a_file(tmp_path):
    """`deepspeed script.py run.yaml` starts `script.py --local_rank=0 run.yaml`."""
    file = write(tmp_path / "run.yaml", "steps: 3\n")
    assert parse((Launched,), ["--local_rank=1", str(file)]) == (Launched(3, 1),)
    assert parse((Launched,), ["--local_rank=0"]) == (Launched(1, 0),)


def test_an_unknown_argument_of_several_files_is_told_with_its_file(tmp_path):
    first = write(tmp_path / "first.yaml", "steps: 3\n")
    second = write(tmp_path / "second.yaml", "stepz: 3\n")
    with pytest.raises(InputError, match="second.yaml: .*--stepz is unknown; .* --steps"):
        read(first, second)


def nested(*words):
    (found,) = parse((Nested,), list(map(str, words)))
    return None if found.schedule is None else json.loads(found.schedule)


def test_a_dotted_name_changes_one_entry(tmp_path):
    file = write(tmp_path / "run.yaml", "schedule:\n  zero: {stage: 3, big: true}\n  lr: 0.5\n")
    assert nested(file) == {"zero": {"stage": 3, "big": True}, "lr": 0.5}
    changed = {"zero": {"stage": 2, "big": True}, "lr": 0.5}
    assert nested(file, "--schedule.zero.stage", 2) == changed
    assert nested(file, "--schedule.zero.stage=2", "--steps", 3) == changed
    # where it stands does not matter, which comes later does
    assert nested("--schedule.a", 1, "--schedule", '{"a": 2, "b": 3}') == {"a": 1, "b": 3}
    assert nested("--schedule.a", 1, "--schedule.a", 2) == {"a": 2}
    more = write(tmp_path / "more.yaml", "schedule.zero.stage: 1\n")
    assert nested(file, more)["zero"]["stage"] == 1
    assert nested(file, more, "--schedule.zero.stage", 0)["zero"]["stage"] == 0


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("2", 2),
        ("1e-4", 1e-4),
        ("-0.5", -0.5),
        ("true", True),
        ("auto", "auto"),
        ("[1, 2]", [1, 2]),
    ],
)
def test_values_of_entries_are_read_as_yaml_does(word, value):
    assert nested("--schedule.a.b", word) == {"a": {"b": value}}
    assert nested("--schedule.flag") == {"flag": True}


def test_an_entry_of_a_file_that_an_argument_names(tmp_path):
    """DeepSpeed's configuration is a file, and most runs want one line of it otherwise."""
    config = write(tmp_path / "zero.json", '{"zero_optimization": {"stage": 3}, "b": "auto"}')
    found = nested("--schedule", config, "--schedule.zero_optimization.stage", 2)
    assert found == {"zero_optimization": {"stage": 2}, "b": "auto"}
    assert json.loads(config.read_text())["zero_optimization"]["stage"] == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--steps.a", "1"], "steps is no mapping; give it as --steps VALUE"),
        (["--shedule.a", "1"], "--shedule is unknown; did you mean --schedule"),
        (["--schedule.a", "1", "2"], "--schedule.a takes one value"),
        (["--schedule.a..b", "1"], "a name is missing beside a dot"),
        (["--schedule.a", "1", "--schedule.a.b", "2"], "--schedule.a is 1, which has no entries"),
        (["--schedule.a", "[1"], "--schedule.a: "),
        (["--schedule", "none.json", "--schedule.a", "1"], "none.json: cannot be read"),
        (["--schedule", "{", "--schedule.a", "1"], "is no JSON"),
    ],
)
def test_entries_that_have_no_place(words, said):
    with pytest.raises(InputError, match=said) as caught:
        nested(*words)
    assert "\n" not in str(caught.value)


def test_a_list_in_a_file_may_look_like_an_entry(tmp_path):
    """Only words that begin with two hyphens are names."""
    file = write(tmp_path / "run.yaml", "names: [a.b, --c.d]\n")
    with pytest.raises(InputError, match="--c.d"):
        read(file)
    assert read(write(tmp_path / "run.yaml", "names: [a.b]\n"))[1].names == ["a.b"]


@pytest.mark.parametrize(
    "value", ["2024-13-45", '!!int "x"', '!!int ""', "!!bool x", '!!timestamp "x"', "9" * 5000]
)
def test_a_value_that_is_not_what_it_looks_like_is_told_by_its_line(tmp_path, value):
    """In a file and on the command line; PyYAML lets the error of Python's own readers through."""
    path = tmp_path / "run.yaml"
    path.write_text(f"steps: 3\ntext: {value}\n")
    with pytest.raises(InputError, match=r"run\.yaml: line 2: .* is no .*; put text in quotes"):
        parse([Words], [str(path)])
    with pytest.raises(InputError, match=r"arguments: --schedule\.a: line 1: .* is no "):
        parse([Nested], ["--schedule.a", value])
