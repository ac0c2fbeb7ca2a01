"""Write the pages of --help into the package, from the arguments as they are.

    python -m adept_llm.cli.write_help

Each command's page is asked of its parser, which needs its libraries; `adept-llm COMMAND --help`
prints the file, which takes no second. A test compares them.
"""

import importlib
import io
from contextlib import redirect_stdout, suppress

from adept_llm.cli.main import COMMANDS, page, quiet


def asked(command: str) -> str:
    """The page of a command, by its own parser."""
    told = io.StringIO()
    with redirect_stdout(told), suppress(SystemExit):
        importlib.import_module(f"adept_llm.cli.{command}").main(["--help"])
    return told.getvalue()


def main() -> None:
    """Write all of them."""
    quiet()
    for command in COMMANDS:
        path = page(command)
        path.parent.mkdir(exist_ok=True)
        path.write_text(asked(command), "utf-8")
        print(path)


if __name__ == "__main__":
    main()
