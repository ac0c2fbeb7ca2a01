"""The commit of a base, which transformers keeps in its configuration or forgets."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def commit_of(config: "PretrainedConfig") -> str | None:
    """The hub's commit that a model was read from; None for a folder, or where nobody noted it.

    transformers 5.17 notes it as `_commit_hash`; 5.18 to 5.23 note nothing (see `note_commit`), but
    still leave that name out of config.json. If it changes, saved adapters and checkpoints do not
    know their base's revision.
    """
    return getattr(config, "_commit_hash", None)


def note_commit(config: "PretrainedConfig", name_or_path: str, revision: str | None) -> None:
    """Note where the hub's client put a model that was just read; a folder has no commit.

    Args:
        config: the model's.
        name_or_path: hub name or folder.
        revision: branch, tag or commit that was asked for.
    """
    if commit_of(config) is not None or Path(name_or_path).exists():
        return
    from huggingface_hub import try_to_load_from_cache

    file = try_to_load_from_cache(name_or_path, "config.json", revision=revision)
    if isinstance(file, str):  # CACHE/models--NAME/snapshots/COMMIT/config.json
        config._commit_hash = Path(file).parent.name
