"""config.json and generation_config.json of a model with more rows than its base."""

import json
from pathlib import Path
from typing import Any

from adept_llm.errors import InputError
from adept_llm.export.stored_base import StoredBase

GENERATION = "generation_config.json"


def write_configurations(base: StoredBase, target: Path, more: int) -> None:
    """config.json of a longer table and an own head; generation_config.json without P's tokens.

    Args:
        base: The base.
        target: A folder.
        more: Rows that come behind its table.

    Raises:
        InputError: for a generation_config.json that is damaged.
    """
    content = json.loads((base.folder / "config.json").read_bytes())
    content["vocab_size"] = base.rows + more
    content["tie_word_embeddings"] = False
    content |= _older_rotation(content.get("rope_parameters"))
    _write(content, target / "config.json")
    write_generation(generation_settings(base.folder, base.config), target, base.rows, more)


def generation_settings(folder: Path, config: Any) -> dict[str, Any]:
    """How a base generates, as its file says it; transformers does not write some of what it reads.

    Many bases have a temperature without do_sample, for which GenerationConfig refuses to be saved.

    Args:
        folder: The base's.
        config: What its config.json says, which older bases have instead.

    Raises:
        InputError: for a file that is damaged.
    """
    from transformers import GenerationConfig

    path = folder / GENERATION
    try:
        if path.is_file():
            content = json.loads(path.read_bytes())
        else:
            content = json.loads(GenerationConfig.from_model_config(config).to_json_string())
    except ValueError as error:
        raise InputError(f"{path}: is damaged ({error}); copy the base again") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: is damaged (it is no mapping); copy the base again")
    return content


def write_generation(settings: dict[str, Any], target: Path, rows: int, more: int) -> None:
    """generation_config.json that keeps virtual tokens from being written.

    Args:
        settings: The base's.
        target: A folder.
        rows: Of the base's table.
        more: Rows that come behind it.
    """
    if more:
        suppressed = settings.get("suppress_tokens") or []
        settings = settings | {"suppress_tokens": [*suppressed, *range(rows, rows + more)]}
    _write(settings, target / GENERATION)


def _write(content: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def _older_rotation(parameters: Any) -> dict[str, Any]:
    """What transformers 5 calls rope_parameters, by the names that 4 reads.

    It does not know the new one, and silently turns by its default of 10,000.
    """
    if not isinstance(parameters, dict) or "rope_theta" not in parameters:
        return {}
    found = {"rope_theta": parameters["rope_theta"]}
    if parameters.get("rope_type", "default") != "default":
        found["rope_scaling"] = {k: v for k, v in parameters.items() if k != "rope_theta"}
    return found
