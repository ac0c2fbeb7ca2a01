"""Several adapters on one load of the base: answers and metrics are those of one at a time."""

import json
import re
import shutil
import subprocess
import sys

import pytest
import torch

from adept_llm import AdeptConfig, InputError, inject_adapter, save_adapter
from adept_llm.adapters import get_adapter
from adept_llm.base.loading import load_model
from adept_llm.cli.main import main
from adept_llm.demo import MODEL
from adept_llm.together import Together
from tests.builders import record_of

CONFIGS = {
    "long": AdeptConfig("adept", 7, 3),
    "by_place": AdeptConfig("dept", 3, 2, offset_positions=9),
    "bare": AdeptConfig("adept", 0, 3),
}
PROMPTS = [
    "Mia went to the inn. She",
    "The soup was stale. Tom",
    "Ana had bread. The waiter",
    "Tom",
]
NEW = ["--max_new_tokens", "8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three adapters of one base."""
    folder = tmp_path_factory.mktemp("several")
    for seed, (name, config) in enumerate(CONFIGS.items()):
        torch.manual_seed(seed)
        model = inject_adapter(load_model(str(MODEL)), config)
        with torch.no_grad():
            for value in get_adapter(model).trained_parameters().values():
                value.add_(0.3 * torch.randn_like(value))
        save_adapter(model, folder / name)
    return folder


def runs(folder):
    return [str(folder / name) for name in CONFIGS]


def rows_file(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def printed(capsys, *argv, code=0):
    capsys.readouterr()
    assert main([*map(str, argv)]) == code
    return capsys.readouterr().out


def mixed(folder):
    """Rows of all three in no order, by folder and by its last part."""
    owners = ["bare", str(folder / "long"), "by_place", "long"]
    return [{"prompt": text, "adapter": one} for text, one in zip(PROMPTS, owners, strict=True)]


@pytest.mark.parametrize("options", [[], ["--num_beams", "2"], ["--batch_size", "1"]])
def test_rows_name_their_adapters(capsys, tmp_path, folder, options):
    rows = mixed(folder)
    path = rows_file(tmp_path / "rows.jsonl", rows)
    one_word = [word for run in runs(folder) for word in ("--adapter", run)]
    told = printed(capsys, "generate", *one_word, "--file", path, *NEW, *options)
    found = [json.loads(line) for line in told.splitlines()]
    for n, (row, one) in enumerate(zip(rows, found, strict=True), 1):
        own = str(folder / row["adapter"])
        assert (one["id"], one["adapter"]) == (f"rows.jsonl:{n}", own)
        bare = rows_file(tmp_path / "one.jsonl", [{"prompt": row["prompt"]}])
        alone = printed(capsys, "generate", "--adapter", own, "--file", bare, *NEW, *options)
        assert one["answer"] == json.loads(alone)["answer"]
    assert len({one["answer"] for one in found}) == len(rows), "else owners could be mixed up"


def test_the_base_is_read_once(capsys, tmp_path, folder, monkeypatch):
    loads = []

    def load(*how):
        loads.append(how)
        return load_model(*how)

    monkeypatch.setattr("adept_llm.tuned.load_model", load)
    path = rows_file(tmp_path / "rows.jsonl", mixed(folder))
    printed(capsys, "generate", "--adapter", *runs(folder), "--file", path, *NEW)
    assert len(loads) == 1


def test_a_row_too_long_for_its_own_run_alone(capsys, tmp_path, folder):
    """max_length is each run's own."""
    shutil.copytree(folder / "long", tmp_path / "short")
    record_of(max_length=6).write(tmp_path / "short")
    rows = [{"prompt": PROMPTS[0], "adapter": name} for name in ("short", "bare")]
    path = rows_file(tmp_path / "rows.jsonl", rows)
    both = ["--adapter", tmp_path / "short", folder / "bare"]
    told = printed(capsys, "generate", *both, "--file", path, *NEW, code=1)
    first, second = map(json.loads, told.splitlines())
    assert "max_length 6" in first["error"] and first["adapter"] == str(tmp_path / "short")
    assert second["answer"]


def test_none_is_too_few():
    with pytest.raises(InputError, match="adapter: none is given"):
        Together.open([])


@pytest.fixture
def refused(capsys, monkeypatch):
    """The one line of a command that reads no weights."""
    monkeypatch.setattr("adept_llm.tuned.load_model", lambda *_: pytest.fail("weights were read"))

    def line(*argv):
        capsys.readouterr()
        assert main([*map(str, argv)]) == 2
        (told,) = capsys.readouterr().err.splitlines()
        return told

    return line


def test_rows_of_nobody(refused, tmp_path, folder):
    path, all_of_them = tmp_path / "rows.jsonl", ["--adapter", *runs(folder)]
    rows_file(path, [{"prompt": "x", "adapter": "bare"}, {"prompt": "x", "adapter": "barely"}])
    told = refused("generate", *all_of_them, "--file", path)
    assert f"rows.jsonl:2: adapter 'barely' is none of those given: {folder / 'long'}, " in told
    rows_file(path, [{"prompt": "x"}])
    told = refused("generate", *all_of_them, "--file", path)
    assert "rows.jsonl:1: field 'adapter' is missing" in told
    rows_file(path, [{"prompt": "x", "adapter": 3.5}, {"prompt": "x", "adapter": ["bare"]}])
    told = refused("generate", *all_of_them, "--file", path)
    assert "rows.jsonl:2: field 'adapter' must be a string" in told
    rows_file(path, [{"prompt": "x", "adapter": "long"}])
    assert "'long' is none of those" in refused(
        "generate", "--adapter", folder / "bare", "--file", path
    )
    shutil.copytree(folder / "long", tmp_path / "other" / "long")
    told = refused("generate", *all_of_them, tmp_path / "other" / "long", "--file", path)
    assert f"may be {folder / 'long'} or {tmp_path / 'other' / 'long'}" in told


def test_adapters_that_cannot_share_a_base(refused, tmp_path, folder):
    ask = ["--file", rows_file(tmp_path / "rows.jsonl", [{"prompt": "x", "adapter": "bare"}])]
    twice = ["--adapter", folder / "bare", f"{folder / 'bare'}/"]
    assert "is given twice" in refused("generate", *twice, *ask)
    shutil.copytree(MODEL, tmp_path / "base")
    shutil.copytree(folder / "long", tmp_path / "moved")
    path = tmp_path / "moved" / "adapter_config.json"
    path.write_text(path.read_text().replace(str(MODEL), str(tmp_path / "base")))
    both = ["--adapter", folder / "bare", tmp_path / "moved"]
    told = refused("generate", *both, *ask)
    assert "cannot share one base" in told and "--model_name_or_path" in told
    path.write_text(re.sub(r'rms": [0-9.e-]+', 'rms": 7.5', path.read_text()))
    told = refused("generate", *both, *ask, "--model_name_or_path", MODEL)
    assert "share one base: table of rms " in told
    path.write_text(path.read_text().replace('vocab_size": 1024', 'vocab_size": 1000'))
    told = refused("generate", *both, *ask, "--model_name_or_path", MODEL)
    assert "share one base: vocabulary of 1024 and 1000; " in told
    shutil.copytree(folder / "long", tmp_path / "quantized")
    record = record_of()
    (tmp_path / "quantized" / "run.json").write_bytes(
        record.to_bytes().replace(b'"quantization": "none"', b'"quantization": "nf4"')
    )
    told = refused("evaluate", "--adapter", folder / "bare", tmp_path / "quantized", *ask)
    assert "quantization none and nf4" in told and "--quantization" in told


def test_what_goes_with_one_adapter(refused, folder):
    several = ["--adapter", *runs(folder)]
    assert "prompt: goes with one" in refused("generate", *several, "--prompt", "x")
    assert "chat goes with one" in refused("chat", *several)
    one = ["--adapter", folder / "bare"]
    assert "stream: goes with --prompt" in refused("generate", *one, "--file", "-", "--stream")
    beams = ["--prompt", "x", "--stream", "--num_beams", "2"]
    assert "stream: beams" in refused("generate", *one, *beams)
    assert "num_beams" in refused("chat", *one, "--num_beams", "2")


def test_metrics_are_those_of_one_run_at_a_time(capsys, tmp_path, folder):
    words = ["\nYes", "\nNo"]
    labels = [{"prompt": f"{n} is", "completion": words[n % 2]} for n in range(12)]
    path = rows_file(tmp_path / "labels.jsonl", labels)
    out, said = tmp_path / "metrics.json", tmp_path / "said.jsonl"
    ask = ["--file", path, "--output_file", out, "--predictions_file", said]
    told = printed(capsys, "evaluate", "--adapter", *runs(folder), *ask)
    together, lines = json.loads(out.read_text()), said.read_text().splitlines()
    assert list(together) == runs(folder)
    assert [line.rstrip(":") for line in told.splitlines() if line.endswith(":")] == runs(folder)
    for run in runs(folder):
        printed(capsys, "evaluate", "--adapter", run, *ask)
        assert json.loads(out.read_text()) == together[run]
        alone = [json.loads(line) for line in said.read_text().splitlines()]
        assert [{"adapter": run} | row for row in alone] == [
            row for row in map(json.loads, lines) if row["adapter"] == run
        ]


def test_forgetting_of_several_runs(capsys, tmp_path, folder):
    path = rows_file(tmp_path / "texts.jsonl", [{"text": text} for text in PROMPTS[:3]])
    out = tmp_path / "metrics.json"
    ask = ["--text_file", path, "--output_file", out]
    printed(capsys, "evaluate", "--adapter", *runs(folder), *ask)
    together = json.loads(out.read_text())
    for run in runs(folder):
        printed(capsys, "evaluate", "--adapter", run, *ask)
        assert json.loads(out.read_text()) == together[run]


def test_a_streamed_answer_is_the_same_text(capsys, folder):
    argv = ["generate", "--adapter", folder / "long", "--prompt", PROMPTS[0], *NEW]
    assert printed(capsys, *argv, "--stream") == printed(capsys, *argv)


def test_rows_from_standard_input(capsys, tmp_path, folder):
    rows = mixed(folder)
    path = rows_file(tmp_path / "stdin.jsonl", rows)
    argv = ["generate", "--adapter", *runs(folder), *NEW]
    expected = printed(capsys, *argv, "--file", path).replace("stdin.jsonl:", "stdin:")
    command = [sys.executable, "-m", "adept_llm.cli.main", *argv, "--file", "-"]
    with open(path, "rb") as file:
        done = subprocess.run(command, stdin=file, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == (expected, 0), done.stderr
