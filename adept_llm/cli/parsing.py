"""Arguments from the command line, from a YAML or JSON file, or from a file with overrides."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from transformers import HfArgumentParser

from adept_llm.errors import InputError


class _Parser(HfArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"arguments: {message}")


def parse(kinds: Sequence[Any], argv: Sequence[str]) -> tuple[Any, ...]:
    """Read dataclasses from arguments; a first argument that is a .yaml or .json file comes first.

    Raises:
        InputError: for an unknown or wrong argument.
    """
    arguments = list(argv)
    if arguments and arguments[0].endswith((".yaml", ".yml", ".json")):
        # as if its entries stood on the command line: what follows overrides them
        arguments = file_arguments(Path(arguments[0])) + arguments[1:]
    parser = _Parser(list(kinds), allow_abbrev=False)
    try:
        return parser.parse_args_into_dataclasses(arguments)
    except argparse.ArgumentError as error:
        raise InputError(f"arguments: {error}") from error
    except InputError:
        raise
    except (ValueError, ImportError) as error:
        raise InputError(f"arguments: {' '.join(str(error).split())}") from error


def file_arguments(path: Path) -> list[str]:
    """A file's entries as command line words.

    Raises:
        InputError: for a file that is missing or no mapping of names to values.
    """
    try:
        content = yaml.safe_load(path.read_text())  # JSON is YAML
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected lines 'argument: value'")
    words: list[str] = []
    for name, value in content.items():
        if value is None:
            continue
        values = value if isinstance(value, list) else [value]
        words.append(f"--{name}")
        words += [json.dumps(v) if isinstance(v, dict) else str(v) for v in values]
    return words
