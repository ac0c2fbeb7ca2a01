"""The commit of a base from the hub is known, whether transformers notes it or not."""

import json
import shutil

import pytest

from adept_llm.base.loading import load_model
from adept_llm.compat.config import commit_of
from adept_llm.demo import MODEL

COMMITS = {"main": "0123456789abcdef0123456789abcdef01234567", "old": "fedcba98" * 5}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A cache laid out as the hub's client does; nothing is downloaded."""
    repository = tmp_path / "models--someone--something"
    (repository / "refs").mkdir(parents=True)
    for name, commit in COMMITS.items():
        shutil.copytree(MODEL, repository / "snapshots" / commit)
        (repository / "refs" / name).write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("revision, name", [(None, "main"), ("old", "old"), (COMMITS["old"],) * 2])
def test_a_model_of_the_hub_knows_its_commit(hub, tmp_path, revision, name):
    model = load_model("someone/something", revision)
    assert commit_of(model.config) == COMMITS.get(name, name)
    # a note of our own must not end up in a merged model
    model.config.save_pretrained(tmp_path / "saved")
    content = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert "_commit_hash" not in content and content["model_type"] == "llama"


def test_a_folder_has_no_commit():
    assert commit_of(load_model(str(MODEL)).config) is None
