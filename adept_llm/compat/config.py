"""What a configuration of transformers says under a private name; nothing is imported for it."""

from typing import Any


def commit_of(config: Any) -> str | None:
    """The hub's commit that a configuration was read from; None for a folder.

    transformers 5.17.0 to 5.23.0 keep it as `_commit_hash`; if that changes, saved adapters and
    checkpoints no longer know their base's revision.
    """
    return getattr(config, "_commit_hash", None)
