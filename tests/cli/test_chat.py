"""A conversation asks as generate does, with what went before where the template knows turns."""

import io
import json
import shutil
import subprocess
import sys

import pytest
import torch

from adept_llm import AdeptConfig, inject_adapter, load_adapters, save_adapter
from adept_llm.adapters import get_adapter, several_of
from adept_llm.base.loading import load_model
from adept_llm.cli.main import main
from adept_llm.demo import MODEL
from tests.builders import record_of

SAID = ["Mia went to the inn.", "Tom had bread.", "The soup was stale."]
NEW = ["--max_new_tokens", "6"]
TURNS = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """Of a base with a chat template."""
    folder = tmp_path_factory.mktemp("chat")
    base = shutil.copytree(MODEL, folder / "base")
    config = json.loads((base / "tokenizer_config.json").read_text())
    (base / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": TURNS}))
    torch.manual_seed(0)
    model = inject_adapter(load_model(str(base)), AdeptConfig("adept", 4, 3))
    with torch.no_grad():
        for value in get_adapter(model).trained_parameters().values():
            value.add_(0.3 * torch.randn_like(value))
    return save_adapter(model, folder / "adapter")


def run(capsys, *argv):
    capsys.readouterr()
    assert main([*map(str, argv)]) == 0
    return capsys.readouterr()


def chat(capsys, monkeypatch, adapter, lines, *options):
    """What is answered to lines that come through a pipe."""
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(line + "\n" for line in lines)))
    return run(capsys, "chat", "--adapter", adapter, *NEW, *options)


def generated(capsys, tmp_path, adapter, messages, *options):
    """The answer of generate to a conversation."""
    path = tmp_path / "rows.jsonl"
    turns = [dict(zip(("role", "content"), one, strict=True)) for one in messages]
    path.write_text(json.dumps({"messages": turns}) + "\n")
    ask = ["--template", "chat", "--file", path, *options]
    return json.loads(run(capsys, "generate", "--adapter", adapter, *NEW, *ask).out)["answer"]


def test_the_model_sees_what_went_before(capsys, monkeypatch, tmp_path, adapter):
    found = chat(capsys, monkeypatch, adapter, SAID, "--template", "chat").out.splitlines()
    before = []
    for said, answer in zip(SAID, found, strict=True):
        before.append(("user", said))
        assert answer == generated(capsys, tmp_path, adapter, before)
        before.append(("assistant", answer))
    assert answer != generated(capsys, tmp_path, adapter, before[-2:-1]), "else nothing is kept"


def test_the_oldest_turns_are_forgotten_when_no_room_is_left(
    capsys, monkeypatch, tmp_path, adapter
):
    short = ["--template", "chat", "--max_length", "60"]
    told = chat(capsys, monkeypatch, adapter, [SAID[0], "too long " * 60, SAID[1], SAID[2]], *short)
    first, second, third = told.out.splitlines()
    (error,) = told.err.splitlines()
    assert error.startswith("error: ") and "max_length is 60" in error
    turns = [("user", SAID[0]), ("assistant", first), ("user", SAID[1]), ("assistant", second)]
    assert third == generated(
        capsys, tmp_path, adapter, [*turns[2:], ("user", SAID[2])], "--max_length", "60"
    )
    assert third != generated(capsys, tmp_path, adapter, [*turns, ("user", SAID[2])])


def test_lines_of_other_templates_are_asked_alone(capsys, adapter):
    """Through a real pipe, as a script would."""
    command = [sys.executable, "-m", "adept_llm.cli.main", "chat", "--adapter", str(adapter), *NEW]
    lines = f"{SAID[0]}\n\n{SAID[1]}"
    done = subprocess.run(command, input=lines, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = [
        run(capsys, "generate", "--adapter", adapter, *NEW, "--prompt", said).out
        for said in SAID[:2]
    ]
    assert done.stdout == "".join(expected)


def test_the_prompt_is_computed_once_for_the_conversation(capsys, monkeypatch, adapter):
    seen = []

    def load(base, *how, **options):
        model = load_adapters(base, *how, **options)
        first = several_of(model).weight.shape[0]
        several_of(model).register_forward_hook(lambda *call: seen.append(call[1][0] == first))
        return model

    monkeypatch.setattr("adept_llm.together.load_adapters", load)
    chat(capsys, monkeypatch, adapter, SAID)
    assert sum(int(one.sum()) for one in seen) == 1 and len(seen) > 3


def test_a_terminal_shows_where_to_write(capsys, monkeypatch, adapter):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stdin", Terminal(SAID[0] + "\n"))
    told = run(capsys, "chat", "--adapter", adapter, *NEW).out
    assert told.startswith("> ") and told.endswith("> \n"), "Ctrl-D ends the line"


@pytest.mark.parametrize("form", ["instruction", "messages"])
def test_lines_are_asked_as_training_rows_ask(capsys, monkeypatch, tmp_path, adapter, form):
    """Under plain: conversations with what went before, instructions with 'Answer:' behind."""
    folder = shutil.copytree(adapter, tmp_path / "run")
    record_of(form=form, max_length=256).write(folder)
    ask = ["generate", "--adapter", folder, *NEW]
    found = chat(capsys, monkeypatch, folder, SAID).out.splitlines()
    alone = [run(capsys, *ask, "--prompt", said).out.strip() for said in SAID]
    assert alone[0] == found[0] and (alone == found) is (form == "instruction")
    rows, before = tmp_path / "rows.jsonl", []
    for said, answer in zip(SAID, found, strict=True):
        turns = [*before, {"role": "user", "content": said}]
        row = {"messages": turns} if before else {"instruction": said, "output": ""}
        if form == "instruction" or before:
            rows.write_text(json.dumps(row) + "\n")
            assert json.loads(run(capsys, *ask, "--file", rows).out)["answer"] == answer
        if form == "messages":
            before = [*turns, {"role": "assistant", "content": answer}]
