"""The files that a base's weights lie in: one, or shards with an index of them."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from adept_llm.errors import InputError

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
# what JSON of another form ends in when it is read
DAMAGES = (OSError, ValueError, KeyError, TypeError, AttributeError)


def shard_names(index: Path) -> Sequence[str]:
    """The files that an index names.

    Raises:
        InputError: for one that is damaged.
    """
    try:
        return sorted(set(map(os.fspath, json.loads(index.read_bytes())["weight_map"].values())))
    except DAMAGES as error:
        raise InputError(f"{index}: is damaged ({error!r}); copy the base again") from error
