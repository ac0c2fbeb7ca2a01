"""adept-llm merge: `export --format hf` under the arguments of the other commands."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from adept_llm.cli.export import check_new, export
from adept_llm.cli.parsing import parse
from adept_llm.cli.tuned import BaseArguments
from adept_llm.export.options import ExportOptions


@dataclass(frozen=True)
class MergeArguments:
    """Where to."""

    output_dir: str = field(metadata={"help": "folder for the merged model; must not exist"})


def main(argv: Sequence[str]) -> None:
    """Open the adapter, write the folder.

    Raises:
        InputError: for an adapter that does not fit, or a folder that exists.
    """
    given, args = parse([BaseArguments, MergeArguments], argv)
    check_new(args.output_dir)
    export(given.open(), "hf", ExportOptions(Path(args.output_dir)))
    print(f"merged model: {args.output_dir}")
