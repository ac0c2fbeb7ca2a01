"""adept-llm files [NAME ..]: where recipes, configurations, Slurm scripts and pages lie."""

from collections.abc import Sequence
from pathlib import Path

from adept_llm.cli.plain_parser import PlainParser
from adept_llm.errors import InputError

PACKAGE = Path(__file__).resolve().parents[1]
FILES = {"docs": "*.md", "ds_configs": "*", "recipes": "*", "slurm": "*"}


def main(argv: Sequence[str]) -> None:
    """Print the absolute path of each named file or folder, of all files by default.

    Raises:
        InputError: for a name that none or several of them have.
    """
    parser = PlainParser("files")
    parser.add_argument(
        "names",
        nargs="*",
        default=[],
        metavar="NAME",
        help="such as zero3.json, methods.md or recipes",
    )
    names = parser.parse_args(argv).names
    for path in map(find, names) if names else shipped():
        print(path)


def root() -> Path:
    """The folder of these folders: a part of an installed package, the top of a checkout."""
    installed = PACKAGE / "shipped"
    return installed if installed.is_dir() else PACKAGE.parent


def shipped() -> list[Path]:
    """All files, in order."""
    paths = (path for folder in FILES for path in (root() / folder).glob(FILES[folder]))
    return sorted(path for path in paths if path.is_file())


def find(name: str) -> Path:
    """The file or folder of a name, with or without the folder it lies in.

    Raises:
        InputError: for a name that none or several of them have.
    """
    folder = name.rstrip("/")
    if folder in FILES:
        return root() / folder
    found = [path for path in shipped() if name in (path.name, f"{path.parent.name}/{path.name}")]
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(f"files: there is no {name}; `adept-llm files` lists them")
    choices = " or ".join(f"{path.parent.name}/{path.name}" for path in found)
    raise InputError(f"files: {name} is in several folders; name {choices}")
