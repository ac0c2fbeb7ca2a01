"""adept-llm inspect: a base that has moved, and runs that cannot be shown."""

import json
from dataclasses import replace

import pytest

from adept_llm.adapters import inject_adapter, save_adapter
from adept_llm.base.loading import load_model
from adept_llm.cli.main import main
from adept_llm.demo import MODEL
from adept_llm.training.checkpoints.folders import write_checkpoint
from tests.builders import CONFIGS, record_of


@pytest.fixture
def run(tmp_path):
    """A run on the demo's base."""
    base = load_model(str(MODEL), dtype="float32")
    save_adapter(inject_adapter(base, CONFIGS["adept"]), tmp_path / "run")
    record_of().finished({"after": {"loss": 1.0}}).write(tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "is it so?", "completion": "yes"}) + "\n")
    return path


def call(run, *argv):
    page = run.with_name("page.html")
    return main(["inspect", str(run), "--output", str(page), *map(str, argv)]), page


def test_a_base_that_has_moved_is_read_for_the_whole_page(run, rows):
    """The words were looked up at the place that the adapter names, where nothing is any more."""
    config = run / "adapter_config.json"
    config.write_text(config.read_text().replace(json.dumps(str(MODEL)), '"gone/base"'))
    code, page = call(run, "--file", rows, "--model_name_or_path", MODEL)
    assert code == 0
    text = page.read_text("utf-8")
    assert "gone/base" not in text and "Left out" not in text
    assert "Size of the offsets" in text and 'id="attention"' in text
    assert f" on {MODEL.name}<" in text


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"data": {"train_file": "a.jsonl", "shuffled_by": 3}, "training": {"seed": 1}},
        {"data": {"train_file": "a.jsonl"}, "training": {}},
        {"data": "a.jsonl", "training": {"seed": 1}},
        {"data": {"train_file": "a.jsonl", "max_train_samples": "3"}, "training": {"seed": 1}},
        {"data": {"train_file": "a.jsonl"}, "training": {"seed": 1}},
    ],
    ids=["nothing", "unknown", "no seed", "text", "kind", "gone"],
)
def test_rows_that_cannot_be_found_again_are_asked_for(run, capsys, arguments):
    """Another version's run.json ended with a trace instead of the way out."""
    replace(record_of(), arguments=arguments).finished({"after": {}}).write(run)
    code, page = call(run)
    err = capsys.readouterr().err.splitlines()[-1]
    assert code == 2 and not page.exists()
    assert err.startswith("error: ") and err.endswith("give others by --file")


def test_a_run_that_stopped_in_its_last_evaluation_is_not_finished(run, rows, capsys):
    """It has its adapter and checkpoints, but no run.json, which was said to be damaged."""
    (run / "run.json").unlink()
    write_checkpoint(run, 10, {"run.json": record_of().to_bytes()}, {})
    code, page = call(run, "--file", rows)
    err = capsys.readouterr().err.splitlines()[-1]
    assert code == 2 and not page.exists()
    assert err == f"error: run: {run} is not finished; inspect shows finished runs"
