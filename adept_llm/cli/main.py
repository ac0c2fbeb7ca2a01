"""adept-llm COMMAND ..: one line and exit code 2 for what the user can mend."""

import importlib
import sys
import warnings
from collections.abc import Callable, Sequence

from adept_llm.errors import InputError

COMMANDS = ("train", "evaluate", "generate", "merge", "estimate", "tasks", "doctor")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the console script."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] not in COMMANDS:
        asked = arguments[:1] in (["--help"], ["-h"])
        usage = (
            f"usage: adept-llm {{{','.join(COMMANDS)}}} ..\n\nadept-llm COMMAND --help tells more"
        )
        print(usage, file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    module = importlib.import_module(f"adept_llm.cli.{arguments[0]}")
    return guarded(module.main, arguments[1:])


def guarded(command: Callable[[Sequence[str]], None], argv: Sequence[str]) -> int:
    """Run a command; 0, or 2 with one line on standard error."""
    # newer transformers rename arguments that older ones know under the old name alone
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    try:
        command(argv)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
