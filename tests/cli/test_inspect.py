"""adept-llm inspect: a base that has moved, and runs that cannot be shown."""

import json

import pytest

from adept_llm.adapters import inject_adapter, save_adapter
from adept_llm.base.loading import load_model
from adept_llm.cli.main import main
from adept_llm.demo import MODEL
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
