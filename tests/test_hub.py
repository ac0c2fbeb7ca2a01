"""Adapters on the hub: which files go there and come from there. No network: a folder plays it."""

import fnmatch
import shutil
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

import adept_llm
from adept_llm import AdeptConfig, InputError, get_adapter, load_adapter, push_to_hub, save_adapter
from adept_llm.adapters import inject_adapter
from tests.builders import adapted, record_of, small_model

ID = "user/tuned"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """What the hub does with a repository, in a folder; and what it was asked."""
    store, asked = tmp_path / "hub", []

    def copy(source, target, patterns):
        names = [p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file()]
        for name in names:
            if any(fnmatch.fnmatch(name, pattern) for pattern in patterns):
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source / name, target / name)

    class Api:
        def create_repo(self, repo_id, *, private, exist_ok):
            asked.append(("create", repo_id, private, exist_ok))

        def upload_folder(self, *, repo_id, folder_path, allow_patterns, revision, commit_message):
            asked.append(("upload", repo_id, revision))
            copy(folder_path, store, allow_patterns)
            return SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/1")

    def snapshot_download(repo_id, *, revision, allow_patterns):
        asked.append(("download", repo_id, revision))
        if repo_id != ID:
            raise HFValidationError(f"no {repo_id}")
        copy(store, tmp_path / "cache", allow_patterns)
        return str(tmp_path / "cache")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return SimpleNamespace(store=store, asked=asked)


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_what_is_pushed_is_loaded_again_by_its_name(tmp_path, hub):
    """Adapter, run and card; no checkpoint, log or base."""
    model, run = adapted("llama"), tmp_path / "run"
    save_adapter(model, run)
    record_of().finished({"after": {"accuracy": 0.75}}).write(run)
    for more in ("checkpoint-4/adapter_model.safetensors", "base/config.json", "log.jsonl"):
        (run / more).parent.mkdir(exist_ok=True)
        (run / more).write_text("")
    assert push_to_hub(run, ID, private=True) == f"https://hub/{ID}/commit/1"
    assert names(hub.store) == [
        "README.md", "adapter_config.json", "adapter_model.safetensors", "run.json"
    ]  # fmt: skip
    assert "| validation accuracy | 0.7500 |" in (hub.store / "README.md").read_text()
    found = load_adapter(small_model("llama"), ID, revision="abc")
    trained = get_adapter(model).trained_parameters()
    assert all(
        torch.equal(value, trained[name])
        for name, value in get_adapter(found).trained_parameters().items()
    )
    assert hub.asked == [
        ("create", ID, True, True), ("upload", ID, None), ("download", ID, "abc")
    ]  # fmt: skip


def test_a_card_that_is_there_stays(tmp_path, hub):
    save_adapter(adapted("llama"), tmp_path / "run")
    (tmp_path / "run" / "README.md").write_text("mine")
    push_to_hub(tmp_path / "run", ID)
    assert (hub.store / "README.md").read_text() == "mine"


def test_a_prompt_starts_from_an_adapter_of_the_hub(tmp_path, hub):
    save_adapter(adapted("llama", m=5), tmp_path / "run")
    push_to_hub(tmp_path / "run", ID)
    config = AdeptConfig("prompt_tuning", 5, prompt_init="adapter", prompt_init_adapter=ID)
    layer = get_adapter(inject_adapter(small_model("llama"), config))
    expected = get_adapter(adapted("llama", m=5)).prompt_rows(torch.float32)
    assert torch.allclose(layer.prompt_rows(torch.float32), expected, atol=1e-6)


def test_a_folder_is_never_looked_up_on_the_hub(tmp_path, hub, monkeypatch):
    """Even if its name could be one's there."""
    save_adapter(adapted("llama"), tmp_path / "user" / "tuned")
    monkeypatch.chdir(tmp_path)
    load_adapter(small_model("llama"), ID)
    assert hub.asked == []


def test_what_the_hub_does_not_have_is_one_line(tmp_path, hub):
    with pytest.raises(InputError, match="user/none is neither a folder here nor an adapter the"):
        load_adapter(small_model("llama"), "user/none")
    with pytest.raises(InputError, match="adapter_config.json"):
        load_adapter(small_model("llama"), tmp_path / "none")
    with pytest.raises(InputError, match="has no adapter_config.json with weights"):
        push_to_hub(tmp_path, ID)


def test_a_hub_that_refuses_is_one_line(tmp_path, monkeypatch):
    class Refusing:
        def create_repo(self, *given, **more):
            raise HfHubHTTPError("401 Unauthorized\nlong story", response=SimpleNamespace(
                headers={}, request=None))  # fmt: skip

    monkeypatch.setattr(huggingface_hub, "HfApi", Refusing)
    save_adapter(adapted("llama"), tmp_path)
    with pytest.raises(InputError, match=r"hub: user/tuned was not written \(401 Unauthorized"):
        push_to_hub(tmp_path, ID)


def test_the_function_is_public():
    assert adept_llm.push_to_hub is push_to_hub and "push_to_hub" in dir(adept_llm)


@pytest.mark.parametrize(
    "content",
    ["{", b"\xff", "[]", '{"base_model": {}}', '{"base_model": {"x": 1}, "adapter": 5}',
     '{"base_model": {"x": 1}, "adapter": {}}',
     '{"base_model": {"name_or_path": 5}, "adapter": {"method": "adept"}}'],
)  # fmt: skip
def test_a_damaged_adapter_is_not_pushed(tmp_path, hub, content):
    save_adapter(adapted("llama"), tmp_path)
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "adapter_config.json").write_bytes(content)
    with pytest.raises(InputError, match="adapter_config.json is (not JSON|damaged)") as caught:
        push_to_hub(tmp_path, ID)
    assert "\n" not in str(caught.value) and hub.asked == []
    assert not (tmp_path / "README.md").exists()


def test_an_adapter_of_peft_is_pushed_without_a_card(tmp_path, hub):
    save_adapter(adapted("llama"), tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "PROMPT_TUNING"}')
    push_to_hub(tmp_path, ID)
    assert names(hub.store) == ["adapter_config.json", "adapter_model.safetensors"]
