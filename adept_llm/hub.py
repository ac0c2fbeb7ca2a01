"""Adapters on the Hugging Face hub: the few small files of one, and no others."""

import json
import re
from pathlib import Path

from adept_llm.card import CARD_FILE, UNNAMED, adapter_card
from adept_llm.errors import InputError
from adept_llm.files import write_files
from adept_llm.record import RECORD_FILE, RunRecord

CONFIG_FILE = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
ADAPTER = (CONFIG_FILE, *WEIGHTS, RECORD_FILE, CARD_FILE)
# of an adapter that was exported as a LoRA
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
             "chat_template.jinja")  # fmt: skip
NAME = re.compile(r"[\w.-]+/[\w.-]+")


def adapter_folder(name: str | Path, revision: str | None = None) -> Path:
    """A folder as it is; of 'user/repo', which is no folder, the adapter's files from the hub.

    Args:
        name: Of either.
        revision: Commit, branch or tag on the hub.

    Raises:
        InputError: for an adapter that the hub does not give out.
    """
    folder = Path(name)
    if folder.exists() or not NAME.fullmatch(str(name)):
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        found = snapshot_download(str(name), revision=revision, allow_patterns=[*ADAPTER])
    except (OSError, ValueError, HfHubHTTPError, HFValidationError) as error:
        why = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(
            f"adapter: {name} is neither a folder here nor an adapter the hub gives out ({why})"
        ) from error
    return Path(found)


def push_to_hub(
    folder: str | Path, repo_id: str, *, private: bool | None = None, revision: str | None = None
) -> str:
    """Upload an adapter: the folder of a run, of `save_adapter`, or of an export as lora or peft.

    Checkpoints, logs and an extended base stay here. run.json goes along where there is one; it
    names folders of this machine. A folder without a model card is given one.

    Args:
        folder: The adapter's.
        repo_id: 'user/repo'; made where it is missing. The token is that of `hf auth login`.
        private: Of a new repository; by default as the account has it.
        revision: Branch to write to.

    Returns:
        The address of the commit.

    Raises:
        InputError: for a folder without an adapter, or a hub that refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    folder = Path(folder)
    if not (folder / CONFIG_FILE).is_file() or not any((folder / w).is_file() for w in WEIGHTS):
        raise InputError(f"adapter: {folder} has no {CONFIG_FILE} with weights; give an adapter's")
    if not (folder / CARD_FILE).is_file():
        _write_card(folder)
    files = [name for name in (*ADAPTER, *TOKENIZER) if (folder / name).is_file()]
    api = HfApi()
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id, folder_path=folder, allow_patterns=files, revision=revision,
            commit_message="Upload an adapter of adept_llm",
        )  # fmt: skip
    except (OSError, ValueError, HfHubHTTPError, HFValidationError) as error:
        why = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"hub: {repo_id} was not written ({why})") from error
    return str(commit.commit_url)


def _write_card(folder: Path) -> None:
    path = folder / CONFIG_FILE
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:  # JSON's and UTF-8's
        raise InputError(f"adapter: {path} is not JSON ({error})") from error
    base = content.get("base_model") if isinstance(content, dict) else {}
    if not isinstance(base, dict):  # another tool's
        return
    name, revision = base.get("name_or_path") or UNNAMED, base.get("revision")
    adapter = content.get("adapter") if base else None
    if not isinstance(adapter, dict) or not all(
        isinstance(text, str) for text in (adapter.get("method"), name, revision or "")
    ):
        raise InputError(f"adapter: {path} is damaged; give a folder of save_adapter")
    card = adapter_card(name, revision, adapter, RunRecord.read(folder))
    write_files(folder, {CARD_FILE: card.encode()})
