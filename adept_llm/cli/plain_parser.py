"""A parser of a few arguments that are no dataclass."""

import argparse
from typing import Any, NoReturn

from adept_llm.cli.help_page import Argument, render
from adept_llm.cli.layouts import LAYOUTS
from adept_llm.errors import InputError


class PlainParser(argparse.ArgumentParser):
    """Says what is wrong as all of this package does, in one line; and its help in groups.

    Args:
        command: whose arguments they are.
    """

    def __init__(self, command: str, **options: Any) -> None:
        super().__init__(prog=f"adept-llm {command}", allow_abbrev=False, **options)
        self.layout = LAYOUTS[command]

    def names(self) -> list[str]:
        """All of its arguments that have one, as they are written."""
        return [name for name in self._option_string_actions if name.startswith("--")]

    def error(self, message: str) -> NoReturn:
        """Instead of a page of usage.

        Raises:
            InputError: always.
        """
        raise InputError(f"arguments: {message}")

    def format_help(self) -> str:
        """The page of --help."""
        return render(self.layout, [Argument.of(one) for one in self._actions])
