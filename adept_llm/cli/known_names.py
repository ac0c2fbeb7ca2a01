"""Is the name of an argument known? A file tells, before torch and transformers are imported.

`python -m adept_llm.cli.write_help` writes the file, from the parsers; a test compares them. All
else, values too, is the parsers' own business.
"""

import json
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

from adept_llm.cli.argument_files import DOTTED, leading_files, read_mapping
from adept_llm.errors import InputError

NAMES = Path(__file__).with_name("help") / "names.json"
"""Command -> the names of its arguments, with underscores. Sweep is left out: it hands names on."""
TAKES_FILES = ("train", "evaluate", "generate", "chat", "merge", "estimate")
# argparse takes words with a space for values
NAME = re.compile(r"(--[\w-]+)(\.[^\s=]*)?(=\S*)?")


def check_names(command: str, words: Sequence[str]) -> None:
    """Refuse names, on the command line or in its files, that no argument has.

    Args:
        command: whose they are.
        words: of the command line, behind the command.

    Raises:
        InputError: for the first such name, or a file that cannot be read.
    """
    known = json.loads(NAMES.read_text("utf-8")).get(command)
    if known is None:
        return
    for path in leading_files(words) if command in TAKES_FILES else ():
        written = [DOTTED.sub(r"\g<name>", str(name)) for name in read_mapping(path)]
        unknown = [f"--{name}" for name in written if with_underscores(f"--{name}") not in known]
        if unknown:
            raise InputError(f"{path}: {unknown_argument(unknown[:1], known)}")
    for word in words:
        if word == "--":  # what follows are values
            return
        found = NAME.fullmatch(word)
        if found and with_underscores(found[1]) not in known:
            raise InputError(unknown_argument([found[1]], known))


def unknown_argument(words: Sequence[str], known: Iterable[str]) -> str:
    """What to say of words that belong to no argument: the first of them, and what is meant."""
    first = next((word for word in words if word.startswith("-")), words[0])
    name = first.partition("=")[0]
    # each is known with hyphens too
    close = get_close_matches(
        with_underscores(name),
        [one for one in known if one.startswith("--") and "-" not in one[2:]],
        1,
    )
    if close:
        return f"arguments: {name} is unknown; did you mean {close[0]}?"
    if not name.startswith("-"):
        return f"arguments: {name!r} belongs to no argument; arguments are --name value"
    return f"arguments: {name} is unknown; --help lists those that are known"


def with_underscores(name: str) -> str:
    """`--learning-rate` is `--learning_rate`."""
    return name.replace("-", "_").replace("__", "--", 1)
