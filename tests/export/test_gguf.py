"""GGUF: what the converter is given, what it makes of it, and chats as rows are written."""

import json
import os
import re
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from adept_llm import AdeptConfig, InputError, save_adapter
from adept_llm.cli.main import main
from adept_llm.data.example import Example, asked
from adept_llm.data.templates import render
from adept_llm.demo import MODEL
from adept_llm.export.chat_forms import go_template, jinja_template
from adept_llm.export.gguf import write_gguf
from adept_llm.export.llama_cpp import PACKAGE, VERSION
from adept_llm.export.options import ExportOptions
from adept_llm.tuned import Tuned
from tests.builders import CONFIGS
from tests.export.test_merged import base_in

CHATML = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SYSTEM = "{{ .System }}"


def said(*pairs):
    return [{"role": role, "content": content} for role, content in pairs]


@pytest.mark.parametrize("template", ["plain", "alpaca"])
def test_a_conversation_is_written_as_rows_are(template):
    """A system's message is the instruction, the user's its input."""
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    tokenizer.chat_template = jinja_template(template, None)
    cases = {
        Example("Is it good?", "The soup.", "yes", id="1"): said(
            ("system", "Is it good? "), ("user", "The soup.")
        ),
        Example("Count to three.", "", "1 2 3", id="2"): said(("user", "Count to three.")),
    }
    talk = (("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye"))
    cases[Example("", "", "Bye", id="3", messages=talk)] = said(*talk)
    for example, messages in cases.items():
        written = tokenizer.apply_chat_template(messages, tokenize=False)
        assert written == render(template, example, tokenizer).text


@pytest.mark.parametrize("template", ["plain", "alpaca"])
def test_a_question_is_written_in_the_form_of_the_training_rows(template):
    """Of conversations and of bare prompts, as `generate --prompt` writes it."""
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    told = (("system", "Be kind."), ("user", "Hi"))
    for form, messages, example in [
        ("instruction", [("user", "Hi")], asked("Hi", "instruction", "1")),
        ("prompt", [("user", "Hi")], asked("Hi", "prompt", "1")),
        ("messages", [("user", "Hi")], asked("Hi", "messages", "1")),
        ("messages", told, Example("", "", "?", id="1", messages=told)),
    ]:
        tokenizer.chat_template = jinja_template(template, None, form)
        written = tokenizer.apply_chat_template(said(*messages), tokenize=False)
        expected = render(template, example, tokenizer).text
        assert written == expected
        ollama = go_template(template, tokenizer, form)
        for role, content in dict(messages).items():
            ollama = ollama.replace(
                {"system": "{{ .System }}", "user": "{{ .Prompt }}"}[role], content
            )
        conditions = r"{{ if .System }}(.*?)(?:{{ else }}(.*?))?{{ end }}"
        ollama = re.sub(conditions, r"\1" if len(messages) > 1 else r"\2", ollama, flags=re.DOTALL)
        assert ollama == expected


def test_a_chat_template_is_taken_apart_for_ollama():
    """Around each role's message, and what stands there without a system's."""
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    tokenizer.chat_template = CHATML
    found = go_template("chat", tokenizer)
    assert found == (
        "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ else }}"
        "<|im_start|>system\nBe kind.<|im_end|>\n{{ end }}{{ range .Messages }}"
        '{{ if eq .Role "user" }}<|im_start|>user\n{{ .Content }}<|im_end|>\n'
        '{{ else if eq .Role "assistant" }}<|im_start|>assistant\n{{ .Content }}<|im_end|>\n'
        "{{ end }}{{ end }}<|im_start|>assistant\n"
    )
    tokenizer.chat_template = "{{ raise_exception('no') }}"
    assert go_template("chat", tokenizer) is None


FOLDED = (
    "{% set told = messages[0]['role'] == 'system' %}{% for m in messages %}"
    "{% if m['role'] == 'user' %}{{ '<s>[INST] ' }}{% if told and loop.index == 2 %}"
    "{{ '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' }}{% endif %}"
    "{{ m['content'] + ' [/INST]' }}{% elif m['role'] == 'assistant' %}"
    "{{ ' ' + m['content'] + '</s>' }}{% endif %}{% endfor %}"
)


def test_a_system_s_text_within_the_user_s_turn_is_written_there_for_ollama():
    """As Llama 2 has it: the first turn holds both, with nothing of how it was found."""
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    tokenizer.chat_template = FOLDED
    assert go_template("chat", tokenizer) == (
        '{{ $first := true }}{{ range .Messages }}{{ if eq .Role "user" }}'
        "{{ if not $first }}<s>[INST] {{ .Content }} [/INST]{{ else if $.System }}"
        "<s>[INST] <<SYS>>\n{{ $.System }}\n<</SYS>>\n\n{{ .Content }} [/INST]"
        "{{ else }}<s>[INST] {{ .Content }} [/INST]{{ end }}{{ $first = false }}"
        '{{ else if eq .Role "assistant" }} {{ .Content }}</s>{{ end }}{{ end }}'
    )
    tokenizer.chat_template = FOLDED.replace("loop.index == 2", "loop.last")  # as Mistral
    assert go_template("chat", tokenizer) is None


STUB = """
import json, pathlib, sys
folder, out = pathlib.Path(sys.argv[1]), sys.argv[sys.argv.index("--outfile") + 1]
if (folder / "refuse").exists() or "REFUSE" in __import__("os").environ:
    raise NotImplementedError("Architecture is unknown")
names = ["tokenizer.json", "tokenizer_config.json", "config.json"]
files = {name: json.loads((folder / name).read_text()) for name in names}
files["template"] = (folder / "chat_template.jinja").read_text()
files["kind"] = sys.argv[sys.argv.index("--outtype") + 1]
pathlib.Path(out).write_text(json.dumps(files))
"""
READER = """
import json, pathlib
class GGUFReader:
    def __init__(self, path, mode):
        self.path, self.mode = pathlib.Path(path), mode
    def get_field(self, name):
        content = json.loads(self.path.read_text())
        self.path.write_text(json.dumps(content | {"false": [name, self.mode]}))
        self.data, self.parts = [0], [[1]]
        return self
"""


@pytest.fixture
def converter(tmp_path):
    """One that writes down what it is given."""
    folder = tmp_path / "llama.cpp"
    (folder / "gguf-py" / "gguf").mkdir(parents=True)
    (folder / "convert_hf_to_gguf.py").write_text(STUB)
    (folder / "gguf-py" / "gguf" / "__init__.py").write_text(READER)
    return folder


def export(folder, converter):
    argv = ["export", folder / "adapter", "--format", "gguf", "--output_dir", folder / "out"]
    return main([*map(str, argv), "--llama_cpp", str(converter)])


@pytest.fixture
def sentencepiece(monkeypatch):
    monkeypatch.setattr("adept_llm.export.llama_cpp.find_spec", lambda name: name)


def test_the_converter_reads_the_base_s_own_pieces(tmp_path, converter, sentencepiece, capsys):
    """No prompt in the post-processor, by which it knows a tokenizer; the prompt in the chat."""
    base_in(tmp_path)
    assert export(tmp_path, converter) == 0
    start = "".join(f"<|adept_{i}|>" for i in range(5)) + "<s>"
    assert f"has to begin with:\n{start}\n" in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "Modelfile", "README.md", "model.gguf",
    ]  # fmt: skip
    given = json.loads((tmp_path / "out" / "model.gguf").read_text())
    own = json.loads((tmp_path / "base" / "tokenizer.json").read_text())["post_processor"]
    assert given["tokenizer.json"]["post_processor"] == own
    assert given["false"] == ["tokenizer.ggml.add_bos_token", "r+"]
    assert "add_bos_token" not in given["tokenizer_config.json"] and given["kind"] == "f16"
    assert given["config.json"]["vocab_size"] == len(AutoTokenizer.from_pretrained(MODEL)) + 5
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    tokenizer.chat_template = given["template"]
    written = tokenizer.apply_chat_template(said(("user", "The soup.")), tokenize=False)
    assert written == f"{start}The soup.\nAnswer:"
    told = (tmp_path / "out" / "Modelfile").read_text()
    assert f'TEMPLATE """{start}{{{{ if .System' in told and "FROM ./model.gguf" in told
    assert start in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(("dtype", "kind"), [(torch.float32, "f32"), (torch.float16, "f16")])
def test_without_a_dtype_in_the_config_the_files_say_it(
    tmp_path, converter, sentencepiece, dtype, kind
):
    """Else float32 weights lose half their bits in the file."""
    base_in(tmp_path, dtype=dtype)
    path = tmp_path / "base" / "config.json"
    content = json.loads(path.read_text())
    del content["dtype"]
    path.write_text(json.dumps(content))
    assert export(tmp_path, converter) == 0
    assert json.loads((tmp_path / "out" / "model.gguf").read_text())["kind"] == kind


def test_without_a_prompt_chat_is_written_as_rows_are_all_the_same(
    tmp_path, converter, sentencepiece
):
    """Else a server would write it by the base's chat template, or by one of its own."""
    base_in(tmp_path, config=replace(CONFIGS["adept"], num_virtual_tokens=0))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(tmp_path / "base")
    assert export(tmp_path, converter) == 0
    given = json.loads((tmp_path / "out" / "model.gguf").read_text())
    assert given["template"] == jinja_template("plain", None) and "false" not in given
    assert "chat_template" not in given["tokenizer_config.json"]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "as the adapter was trained on them: a" in card and "virtual tokens:" not in card


def test_a_chat_without_a_template_is_refused_before_weights_are_read(tmp_path, monkeypatch):
    """The base may have lost it since the run."""
    base_in(tmp_path)
    monkeypatch.setattr("adept_llm.export.gguf.write_hf", lambda *_, **__: pytest.fail("merged"))
    monkeypatch.setattr("adept_llm.export.gguf.find_llama_cpp", lambda given: given)
    (tmp_path / "out").mkdir()
    tuned = Tuned.open(tmp_path / "adapter", template="chat")
    with pytest.raises(InputError, match="base has no chat template"):
        write_gguf(tuned, ExportOptions(tmp_path / "out"), tmp_path / "out")


def test_a_base_that_was_merged_itself_is_refused_before_weights_are_read(tmp_path, monkeypatch):
    """Its own prompt would be lost: a GGUF puts nothing in front of a text."""
    base_in(tmp_path)
    monkeypatch.setattr("adept_llm.export.gguf.write_hf", lambda *_, **__: pytest.fail("merged"))
    monkeypatch.setattr("adept_llm.export.gguf.find_llama_cpp", lambda given: given)
    tuned = Tuned.open(tmp_path / "adapter")
    again = replace(tuned)
    again.__dict__["tokenizer"] = tuned.prefixed_tokenizer
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=r"merged itself.*<\|adept_0\|>.. in front") as caught:
        write_gguf(again, ExportOptions(tmp_path / "out"), tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_a_disk_that_holds_the_model_once_is_refused(
    tmp_path, converter, sentencepiece, capsys, monkeypatch
):
    """The merged folder and the file that is made of it lie there at the same time."""
    base_in(tmp_path)
    size = (tmp_path / "base" / "model.safetensors").stat().st_size
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2 * size))
    assert export(tmp_path, converter) == 2
    assert "the model needs" in capsys.readouterr().err


def test_what_cannot_be_converted_leaves_nothing(
    tmp_path, converter, sentencepiece, capsys, monkeypatch
):
    """One line each."""
    base_in(tmp_path)
    monkeypatch.setenv("REFUSE", "1")
    assert export(tmp_path, converter) == 2
    assert "refuses the model: NotImplementedError: Arch" in capsys.readouterr().err
    assert export(tmp_path, tmp_path / "base") == 2
    assert "has no convert_hf_to_gguf.py" in capsys.readouterr().err
    monkeypatch.setattr("adept_llm.export.llama_cpp.find_spec", lambda name: None)
    assert export(tmp_path, converter) == 2
    assert "pip install 'adept-llm[gguf]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
FETCHED = CACHE / "adept_llm" / f"llama.cpp-of-{PACKAGE}-{VERSION}"
STORIES = Path(__file__).parents[3] / "shared" / "models" / "stories260K"
HERE = FETCHED.is_dir() and STORIES.is_dir() and find_spec("gguf") and find_spec("sentencepiece")


@pytest.mark.skipif(not HERE, reason="needs llama.cpp's converter, gguf, and a SentencePiece base")
def test_llama_cpp_s_own_converter_knows_the_prompt(tmp_path):
    """Each virtual token one control token or user's own, which llama.cpp finds in a text."""
    from gguf import GGUFReader, TokenType
    from transformers import AutoModelForCausalLM

    from adept_llm import inject_adapter

    shutil.copytree(STORIES, tmp_path / "base", copy_function=shutil.copyfile)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    save_adapter(inject_adapter(model, AdeptConfig("adept", 5, 3)), tmp_path / "adapter")
    assert export(tmp_path, FETCHED) == 0
    file = GGUFReader(tmp_path / "out" / "model.gguf")

    def read(name):
        return file.get_field(f"tokenizer.{name}").contents()

    tokens, kinds = read("ggml.tokens"), read("ggml.token_type")
    first = len(AutoTokenizer.from_pretrained(tmp_path / "base"))
    assert tokens[first:] == [f"<|adept_{i}|>" for i in range(5)]
    assert set(kinds[first:]) <= {TokenType.CONTROL, TokenType.USER_DEFINED}
    assert read("ggml.add_bos_token") is False
    assert read("chat_template").startswith('{{ "<|adept_0|>')
