"""Arguments from the command line, from YAML or JSON files, or from files with overrides behind.

HfArgumentParser reads them: it is made for transformers.TrainingArguments, whose hundred fields
train takes. Others (tyro, jsonargparse, simple-parsing) would rename them or nest what recipes have
flat, and start no faster: what is slow is the import of TrainingArguments.
"""

import argparse
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from transformers import HfArgumentParser

from adept_llm.cli.argument_files import (
    Entry,
    leading_files,
    read_mapping,
    split_dotted,
    take_dotted,
    with_entries,
)
from adept_llm.cli.help_page import Argument, render
from adept_llm.cli.known_names import unknown_argument
from adept_llm.cli.layouts import LAYOUTS, Layout
from adept_llm.cli.main import LOCAL_RANK
from adept_llm.errors import InputError

Prepare = Callable[[argparse.Namespace], None]


class _HelpAll(argparse.Action):
    """--help_all: as --help, with what is rarely needed and all of Trainer's."""

    def __call__(self, parser: Any, *_: Any, **__: Any) -> None:
        print(parser.format_help(whole=True), end="")
        parser.exit()


class _Parser(HfArgumentParser):
    def __init__(self, kinds: Sequence[Any], command: str | None, prepare: Prepare | None) -> None:
        prog = f"adept-llm {command}" if command else None
        super().__init__(list(kinds), prog=prog, allow_abbrev=False)
        self.prepare = prepare
        self.layout = LAYOUTS.get(
            command or "", Layout(usage=f"{self.prog} [FILE ..] --NAME VALUE ..")
        )
        self.entries: list[Entry] = []
        self.mappings = {name for kind in kinds for name in mapping_arguments(kind)}
        if self.layout.rare:
            self.add_argument(
                "--help_all", action=_HelpAll, nargs=0, dest=argparse.SUPPRESS,
                default=argparse.SUPPRESS, help="all arguments, with transformers.Trainer's",
            )  # fmt: skip

    def names(self) -> list[str]:
        """All of them as they are written."""
        return [name for name in self._option_string_actions if name.startswith("--")]

    def format_help(self, whole: bool = False) -> str:
        return render(self.layout, [Argument.of(one) for one in self._actions], whole)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            raise InputError(unknown_argument(unknown, self.names()))
        for name in dict.fromkeys(entry.name for entry in self.entries):
            if f"--{name}" not in self.names():
                raise InputError(unknown_argument([f"--{name}"], self.names()))
            if name not in self.mappings:
                raise InputError(f"arguments: {name} is no mapping; give it as --{name} VALUE")
            entries = [entry for entry in self.entries if entry.name == name]
            setattr(found, name, with_entries(getattr(found, name), entries))
        if self.prepare:
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
    kinds: Sequence[Any],
    argv: Sequence[str],
    prepare: Prepare | None = None,
    command: str | None = None,
) -> tuple[Any, ...]:
    """Read dataclasses from arguments, which may begin with .yaml or .json files of them.

    Args:
        kinds: the dataclasses.
        argv: the words of the command line.
        prepare: called with all values before a dataclass is made of them; it may change them.
        command: whose arguments they are; its layout of --help is taken.

    Raises:
        InputError: for an unknown or wrong argument.
    """
    parser = make_parser(kinds, command, prepare)
    words, parser.entries = take_dotted(argv)
    if words[:1] and words[0].startswith(LOCAL_RANK):
        words = [*words[1:], *(words[:1] if "--local_rank" in parser.names() else [])]
    files = leading_files(words)
    read = [file_words(parser, path) for path in files]
    # as if their entries stood on the command line: what follows overrides them
    arguments = [word for each, _ in read for word in each] + words[len(files) :]
    parser.entries = [entry for _, each in read for entry in each] + parser.entries
    try:
        return parser.parse_args_into_dataclasses(arguments)
    except argparse.ArgumentError as error:
        raise InputError(f"arguments: {error}") from error
    except InputError:
        raise
    except (ValueError, ImportError) as error:
        raise InputError(f"arguments: {' '.join(str(error).split())}") from error


def make_parser(
    kinds: Sequence[Any], command: str | None = None, prepare: Prepare | None = None
) -> _Parser:
    """What `parse` reads with."""
    return _Parser(kinds, command, prepare)


def mapping_arguments(kind: Any) -> list[str]:
    """The fields of a dataclass whose value may be a mapping."""
    return [
        name
        for name, hint in get_type_hints(kind).items()
        if any(one is dict or get_origin(one) is dict for one in (hint, *get_args(hint)))
    ]


def file_words(parser: _Parser, path: Path) -> tuple[list[str], list[Entry]]:
    """A file's entries as command line words, and those that go inside of a value.

    Raises:
        InputError: as `read_mapping`, or for an unknown argument.
    """
    plain, entries = split_dotted(read_mapping(path))
    words: list[str] = []
    for name, value in plain.items():
        if f"--{name}" not in parser.names():
            raise InputError(f"{path}: {unknown_argument([f'--{name}'], parser.names())}")
        if value is None:
            continue
        values = value if isinstance(value, list) else [value]
        words.append(f"--{name}")
        words += [parser.word(name, v) for v in values]
    return words, entries


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


def check_output(name: str, path: str | None, **others: str | None) -> None:
    """Refuse a file that could not be written in the end.

    Args:
        name: of the argument.
        path: what was given for it, if anything.
        others: other files by their arguments; none of them is to be written over.

    Raises:
        InputError: for a folder, a file in a folder that is missing, one that may not be
            written, or one of the others.
    """
    if path is None:
        return
    file = Path(path)
    for other, given in others.items():
        if given and Path(given).resolve() == file.resolve():
            raise InputError(f"{name}: {path} is what --{other} names; name another file")
    if file.is_dir():
        raise InputError(f"{name}: {path} is a folder; name a file in it")
    if not file.parent.is_dir():
        raise InputError(f"{name}: there is no folder {file.parent}; make it first")
    if not os.access(file.parent, os.W_OK):
        raise InputError(f"{name}: the folder {file.parent} cannot be written; name another")
