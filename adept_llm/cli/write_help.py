"""Write the pages of --help into the package, and the names of all arguments, from the arguments.

    python -m adept_llm.cli.write_help

Each command's page is asked of its parser, which needs its libraries; `adept-llm COMMAND --help`
prints the file, which takes no second, and names that no argument has are found by the file of
names. A test compares them.
"""

import argparse
import importlib
import json
from contextlib import suppress
from typing import Any
from unittest.mock import patch

from adept_llm.cli.known_names import NAMES, with_underscores
from adept_llm.cli.main import COMMANDS, page, quiet

HANDS_ON = ("sweep",)  # names that it does not know to the runs that it starts


def parser_of(command: str) -> Any:
    """The parser that a command makes."""
    found: list[Any] = []
    shown = patch.object(argparse.ArgumentParser, "print_help", lambda self: found.append(self))
    with shown, suppress(SystemExit):
        importlib.import_module(f"adept_llm.cli.{command}").main(["--help"])
    return found[0]


def names_of(parser: Any) -> list[str]:
    """The names of its arguments, once each."""
    return sorted({with_underscores(name) for name in parser.names()})


def main() -> None:
    """Write all of them."""
    quiet()
    parsers = {command: parser_of(command) for command in COMMANDS}
    page("train").parent.mkdir(exist_ok=True)
    for command, parser in parsers.items():
        page(command).write_text(parser.format_help(), "utf-8")
        print(page(command))
    names = {name: names_of(one) for name, one in parsers.items() if name not in HANDS_ON}
    NAMES.write_text(json.dumps(names, indent=0) + "\n", "utf-8")
    print(NAMES)


if __name__ == "__main__":
    main()
