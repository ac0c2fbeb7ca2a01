"""YAML and JSON files of arguments: read, laid over each other, and changed inside by dotted names.

    a.yaml b.yaml --seed 1 --deepspeed.zero_optimization.stage 2

Of files the later one wins, argument by argument; words of the command line win over files; dotted
names, wherever they stand, change one entry of a value that is a mapping.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from adept_llm.errors import InputError

SUFFIXES = (".yaml", ".yml", ".json")
DOTTED = re.compile(r"(?P<name>[A-Za-z]\w*)\.(?P<path>[\w./-]*)")


class Entry(NamedTuple):
    """A value inside of an argument's value: `--name.path[0].path[1] value`."""

    name: str
    path: tuple[str, ...]
    value: Any


class _Loader(yaml.SafeLoader):
    """Refuses a name that is given twice, of which YAML takes the last without a word.

    And a value that is not what it looks like, such as the date 2024-13-45, by its line.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError) as error:
            line, kind = node.start_mark.line + 1, node.tag.rpartition(":")[2]
            raise yaml.YAMLError(
                f"line {line}: {repr(node.value)[:40]} is no {kind} ({error}); put text in quotes"
            ) from error

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


def leading_files(words: Sequence[str]) -> list[Path]:
    """The files that a command line begins with."""
    found: list[Path] = []
    for word in words:
        if not word.endswith(SUFFIXES) or word.startswith("-"):
            break
        found.append(Path(word))
    return found


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
    except (yaml.YAMLError, ValueError) as error:  # the latter of JSON, also for 5000 digits
        raise InputError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected lines 'argument: value'")
    return content


def split_dotted(content: dict[str, Any]) -> tuple[dict[str, Any], list[Entry]]:
    """A file's entries, those with a dot in their name apart."""
    plain: dict[str, Any] = {}
    entries: list[Entry] = []
    for name, value in content.items():
        if found := DOTTED.fullmatch(str(name)):
            entries.append(_entry(found, value))
        else:
            plain[name] = value
    return plain, entries


def take_dotted(words: Sequence[str]) -> tuple[list[str], list[Entry]]:
    """The words of a command line without `--name.path value`, and those.

    A value is read as YAML does: 2 is a number, true a truth, [1, 2] a list; a name without a value
    is true.

    Raises:
        InputError: for a name with several values, or a value that is no YAML.
    """
    kept: list[str] = []
    entries: list[Entry] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        found = DOTTED.fullmatch(name) if word.startswith("--") else None
        if not found:
            kept.append(word)
            continue
        values = [value] if equals else []
        while waiting and not waiting[0].startswith("--"):
            values.append(waiting.pop(0))
        if len(values) > 1:
            raise InputError(f"arguments: --{name} takes one value; write a list as '[1, 2]'")
        try:
            entries.append(_entry(found, yaml.load(values[0], _Loader) if values else True))
        except yaml.YAMLError as error:
            raise InputError(f"arguments: --{name}: {' '.join(str(error).split())}") from error
    return kept, entries


def _entry(found: re.Match[str], value: Any) -> Entry:
    path = tuple(found["path"].split("."))
    if not all(path):
        raise InputError(f"arguments: --{found[0]}: a name is missing beside a dot")
    return Entry(found["name"], path, value)


def with_entries(given: Any, entries: Sequence[Entry]) -> str:
    """An argument's value with entries changed or added, as JSON.

    Args:
        given: nothing, a mapping, its JSON, or a file that holds it.
        entries: of this argument, in order.

    Raises:
        InputError: for a value, or a place inside of it, that holds no entries.
    """
    name = entries[0].name
    content = _mapping(name, given)
    for entry in entries:
        inside = content
        for step, key in enumerate(entry.path[:-1], 1):
            inside = inside.setdefault(key, {})
            if not isinstance(inside, dict):
                where = ".".join((name, *entry.path[:step]))
                raise InputError(f"arguments: --{where} is {inside!r}, which has no entries")
        inside[entry.path[-1]] = entry.value
    return json.dumps(content)


def _mapping(name: str, given: Any) -> dict[str, Any]:
    if given is None or given == "":
        return {}
    if isinstance(given, dict):
        return dict(json.loads(json.dumps(given)))
    text = str(given).strip()
    if not text.startswith("{"):
        return read_mapping(Path(text))
    try:
        return dict(json.loads(text, object_pairs_hook=_once))
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{name}: {given} is no JSON ({error})") from error
