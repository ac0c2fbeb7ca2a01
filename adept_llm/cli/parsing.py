"""Arguments from the command line, from a YAML or JSON file, or from a file with overrides."""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

import yaml
from transformers import HfArgumentParser

from adept_llm.errors import InputError

Prepare = Callable[[argparse.Namespace], None]


class _Loader(yaml.SafeLoader):
    """Refuses a name that is given twice, of which YAML takes the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, int] = {}
        for key, _ in node.value:
            name, line = key.value, key.start_mark.line + 1
            if isinstance(name, str) and name in seen and name != "<<":
                raise yaml.YAMLError(
                    f"'{name}' is given twice, in lines {seen[name]} and {line}; leave one out"
                )
            if isinstance(name, str):
                seen[name] = line
        return super().construct_mapping(node, deep)


# 1e-4 is a number in YAML 1.2 and a word in 1.1, which is what PyYAML reads
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, refused if a name is given twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise yaml.YAMLError(f"'{twice}' is given twice; leave one out")
    return found


class PlainParser(argparse.ArgumentParser):
    """Says what is wrong as all of this package does: in one line."""

    def error(self, message: str) -> NoReturn:
        """Instead of a page of usage.

        Raises:
            InputError: always.
        """
        raise InputError(f"arguments: {message}")


class _Parser(HfArgumentParser):
    prepare: Prepare | None = None

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            raise InputError(unknown_argument(unknown, self._option_string_actions))
        if self.prepare and not unknown:
            self.prepare(found)
        return found, unknown

    def error(self, message: str) -> NoReturn:
        raise InputError(f"arguments: {message}")

    def word(self, name: str, value: Any) -> str:
        """A value of a file as on the command line."""
        if isinstance(value, dict):
            return json.dumps(value)
        if isinstance(value, bool) and any(a.dest == name and a.choices for a in self._actions):
            return "yes" if value else "no"  # YAML 1.1 reads the words no and off as false
        return str(value)


def parse(
    kinds: Sequence[Any], argv: Sequence[str], prepare: Prepare | None = None
) -> tuple[Any, ...]:
    """Read dataclasses from arguments; a first argument that is a .yaml or .json file comes first.

    Args:
        kinds: the dataclasses.
        argv: the words of the command line.
        prepare: called with all values before a dataclass is made of them; it may change them.

    Raises:
        InputError: for an unknown or wrong argument.
    """
    parser = _Parser(list(kinds), prog=_program(), allow_abbrev=False)
    parser.prepare = prepare
    arguments = list(argv)
    if arguments and arguments[0].endswith((".yaml", ".yml", ".json")):
        # as if its entries stood on the command line: what follows overrides them
        arguments = file_arguments(parser, Path(arguments[0])) + arguments[1:]
    try:
        return parser.parse_args_into_dataclasses(arguments)
    except argparse.ArgumentError as error:
        raise InputError(f"arguments: {error}") from error
    except InputError:
        raise
    except (ValueError, ImportError) as error:
        raise InputError(f"arguments: {' '.join(str(error).split())}") from error


def unknown_argument(words: Sequence[str], known: Iterable[str]) -> str:
    """What to say of words that belong to no argument: the first of them, and what is meant."""
    first = next((word for word in words if word.startswith("-")), words[0])
    name = first.partition("=")[0]
    close = get_close_matches(name, [one for one in known if one.startswith("--")], 1)
    if close:
        return f"arguments: {name} is unknown; did you mean {close[0]}?"
    if not name.startswith("-"):
        return f"arguments: {name!r} belongs to no argument; arguments are --name value"
    return f"arguments: {name} is unknown; --help lists those that are known"


def read_mapping(path: Path) -> dict[str, Any]:
    """The content of a YAML or JSON file of names and values.

    Raises:
        InputError: for a file that is missing or no mapping of names to values.
    """
    try:
        text = path.read_text("utf-8")
        # YAML has other escapes and other numbers than JSON
        is_json = path.suffix == ".json"
        content = json.loads(text, object_pairs_hook=_once) if is_json else yaml.load(text, _Loader)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); `adept-llm files` lists ready recipes"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8; save the file as UTF-8") from error
    except (yaml.YAMLError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected lines 'argument: value'")
    return content


def file_arguments(parser: _Parser, path: Path) -> list[str]:
    """A file's entries as command line words.

    Raises:
        InputError: as `read_mapping`.
    """
    words: list[str] = []
    for name, value in read_mapping(path).items():
        if value is None:
            continue
        values = value if isinstance(value, list) else [value]
        words.append(f"--{name}")
        words += [parser.word(name, v) for v in values]
    return words


def check_writable(folder: str | Path) -> None:
    """Refuse a folder that cannot be made or written, without making it.

    Raises:
        InputError: saying what stands in the way.
    """
    if not str(folder):
        raise InputError("output_dir: give a folder for the adapter")
    path = Path(folder).absolute()
    while not path.exists():
        path = path.parent
    if not path.is_dir() or not os.access(path, os.W_OK | os.X_OK):
        why = "is no folder" if not path.is_dir() else "may not be written"
        raise InputError(f"output_dir: {folder}: {path} {why}; name another folder")


def check_output(name: str, path: str | None) -> None:
    """Refuse a file that could not be written in the end.

    Args:
        name: of the argument.
        path: what was given for it, if anything.

    Raises:
        InputError: for a folder, a file in a folder that is missing, or one without leave to write.
    """
    if path is None:
        return
    file = Path(path)
    if file.is_dir():
        raise InputError(f"{name}: {path} is a folder; name a file in it")
    if not file.parent.is_dir():
        raise InputError(f"{name}: there is no folder {file.parent}; make it first")
    if not os.access(file.parent, os.W_OK):
        raise InputError(f"{name}: the folder {file.parent} cannot be written; name another")


def _program() -> str | None:
    """`adept-llm COMMAND` under that name and as a module; None, the script's own, elsewhere."""
    started = Path(sys.argv[0]).name in ("adept-llm", "main.py") and len(sys.argv) > 1
    return f"adept-llm {sys.argv[1]}" if started else None
