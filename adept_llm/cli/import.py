"""adept-llm import SOURCE --output_dir DIR: an adapter of another tool, for all commands here."""

from collections.abc import Sequence
from pathlib import Path

from adept_llm.base.loading import load_config, named_by
from adept_llm.cli.export import check_new
from adept_llm.cli.plain_parser import PlainParser
from adept_llm.errors import InputError
from adept_llm.export.incoming import read_incoming, write_incoming
from adept_llm.files import write_whole_folder


def main(argv: Sequence[str]) -> None:
    """Read the adapter and its base's table, write the folder.

    Raises:
        InputError: for an adapter that cannot be read or fits no method, or a folder that exists.
    """
    parser = PlainParser("import")
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
    revision = None
    if not args.model_name_or_path:
        revision = foreign.revision
        with named_by(args.source):
            load_config(name, revision)
    write_whole_folder(
        Path(args.output_dir), lambda target: write_incoming(foreign, name, revision, target)
    )
    print(f"{foreign.config.method}: {args.output_dir}")
