"""What adept_llm uses of transformers beyond its documented interface."""

from typing import Any


def commit_of(config: Any) -> str | None:
    """The commit on the hub that a configuration was read from; None for a folder.

    `PretrainedConfig._commit_hash` (transformers 5.17 to 5.23). Without it adapters would no longer
    name the revision of their base.
    """
    return getattr(config, "_commit_hash", None)
