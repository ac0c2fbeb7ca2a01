"""adept-llm import SOURCE --output_dir DIR: an adapter of another tool, for all commands here."""

from collections.abc import Sequence
from pathlib import Path

from adept_llm.cli.export import check_new
from adept_llm.cli.parsing import PlainParser
from adept_llm.errors import InputError
from adept_llm.export.incoming import read_incoming, write_incoming
from adept_llm.files import write_whole_folder


def main(argv: Sequence[str]) -> None:
    """Read the adapter and its base's table, write the folder.

    Raises:
        InputError: for an adapter that cannot be read or fits no method, or a folder that exists.
    """
    parser = PlainParser(
        prog="adept-llm import",
        description="Make an adapter of this package of PEFT's prompt tuning, or of what the code "
        "of DePT's or ADePT's authors saves.",
        epilog="example: adept-llm import user/repo --output_dir runs/theirs",
        allow_abbrev=False,
    )
    parser.add_argument("source", metavar="SOURCE", help="its folder, or its name on the hub")
    parser.add_argument(
        "--output_dir", required=True, metavar="DIR", help="folder to write; must not exist"
    )
    parser.add_argument("--revision", help="its commit on the hub")
    parser.add_argument(
        "--model_name_or_path", metavar="BASE", help="default: the one the adapter names"
    )
    args = parser.parse_args(argv)
    check_new(args.output_dir)
    foreign = read_incoming(args.source, args.revision)
    name = args.model_name_or_path or foreign.base
    if not name:
        raise InputError("model_name_or_path: the adapter names no base model; give it")
    revision = None if args.model_name_or_path else foreign.revision
    write_whole_folder(
        Path(args.output_dir), lambda target: write_incoming(foreign, name, revision, target)
    )
    print(f"{foreign.config.method}: {args.output_dir}")
