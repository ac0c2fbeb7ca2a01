"""adept-llm completion SHELL: a script that completes commands, arguments and their choices.

It is written by shtab, from the pages of --help: at once, so that a shell can ask for it as it
starts. argcomplete, which is as well kept, would start this program at each press of the key, and
parsers need torch.
"""

import argparse
import re
from collections.abc import Sequence
from typing import Any

import shtab

from adept_llm.cli.main import COMMANDS, page
from adept_llm.cli.plain_parser import PlainParser
from adept_llm.tasks import task_names

SHELLS = ("bash", "zsh")
FOLDERS = ("adapter", "model_name_or_path", "resume_from_checkpoint")
# "  --name   text over one line or several {choice,choice} [default]"
ARGUMENT = re.compile(r"^  (--\w+)((?:.|\n   )*)", re.MULTILINE)
CHOICES = re.compile(r"\{([^}]+)\}")
WORDS = {"completion": SHELLS, "tasks": tuple(task_names())}


def main(argv: Sequence[str]) -> None:
    """Print the script."""
    parser = PlainParser("completion")
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help="whose script")
    print(script(parser.parse_args(argv).shell))


def script(shell: str) -> str:
    """A shell's script.

    Args:
        shell: bash or zsh.
    """
    parser = argparse.ArgumentParser("adept-llm")
    parser.add_argument("--version", action="version", version="", help="print the version")
    commands = parser.add_subparsers(dest="command")
    for name, summary in COMMANDS.items():
        text = page(name).read_text("utf-8")
        command = commands.add_parser(name, help=summary)
        words: Any = command.add_argument("words", nargs="*", choices=WORDS.get(name), help="words")
        if name not in WORDS:
            words.complete = shtab.FILE
        for written, told in ARGUMENT.findall(text):
            add(command, written, " ".join(told.split()))
        if "--help_all" in text:
            command.add_argument("--help_all", action="store_true", help="all arguments")
    return str(shtab.complete(parser, shell))


def add(command: argparse.ArgumentParser, written: str, told: str) -> None:
    """One argument, with what may follow it."""
    name, told_choices = written.removeprefix("--"), CHOICES.search(told)
    choices = re.findall(r"\w+", told_choices[1]) if told_choices else None
    if name == "task":
        choices = list(task_names())
    action: Any = command.add_argument(
        written, nargs="?", help=told.replace("%", "%%"), choices=choices
    )
    if name.endswith("_dir") or name in FOLDERS:
        action.complete = shtab.DIRECTORY
    elif not choices and (name.endswith("file") or name in ("output", "deepspeed")):
        action.complete = shtab.FILE
