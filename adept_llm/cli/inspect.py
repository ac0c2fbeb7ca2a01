"""adept-llm inspect RUN --output page.html: what an adapter does, on a page."""

import webbrowser
from collections.abc import Sequence
from pathlib import Path

from adept_llm.cli.parsing import check_output
from adept_llm.cli.plain_parser import PlainParser
from adept_llm.data import Example, own_examples
from adept_llm.errors import InputError
from adept_llm.files import write_whole
from adept_llm.record import RECORD_FILE
from adept_llm.report.attention import attention_to_prompt
from adept_llm.report.figures import check_matplotlib
from adept_llm.report.inspection import inspection
from adept_llm.report.runs import Run
from adept_llm.training.arguments import DataArguments
from adept_llm.training.data import read_data
from adept_llm.tuned import Tuned

ROWS = 32


def main(argv: Sequence[str]) -> None:
    """Read rows with the tuned model, write the page.

    Raises:
        InputError: for a run without results, or rows that are missing.
    """
    parser = PlainParser("inspect")
    parser.add_argument("run", metavar="RUN", help="folder of a finished run")
    parser.add_argument("--output", required=True, metavar="FILE", help="page.html")
    parser.add_argument(
        "--file", metavar="ROWS", help="as for --train_file; default: the run's own validation rows"
    )
    parser.add_argument(
        "--model_name_or_path", metavar="BASE", help="default: the one the adapter names"
    )
    parser.add_argument("--open", action="store_true", help="show the page in the browser")
    args = parser.parse_args(argv)
    path = Path(args.output)
    if path.suffix != ".html":
        raise InputError(f"output: {path} is no page; give a name that ends in .html")
    check_output("output", args.output)
    check_matplotlib()
    tuned = Tuned.open(args.run, model_name_or_path=args.model_name_or_path)
    run = Run.read(tuned.folder) if tuned.record else None
    if run is None:
        raise InputError(f"run: {args.run} is not finished; inspect shows finished runs")
    rows, _ = tuned.encoder.encode_all(rows_of(tuned, args.file)[:ROWS])
    attention = attention_to_prompt(tuned.model, rows)
    write_whole(path, inspection(run, attention, args.model_name_or_path).encode())
    print(f"{path}: {run.method}, {len(rows)} rows")
    if args.open:
        webbrowser.open(path.absolute().as_uri())


def rows_of(tuned: Tuned, file: str | None) -> list[Example]:
    """Of a file, or of the run's own validation split; its training rows where it had none.

    Raises:
        InputError: for rows that are not there any more, or that another version describes.
    """
    if file:
        return own_examples(file, tuned.labels, None, 0)
    assert tuned.record is not None
    arguments = tuned.record.arguments
    try:
        data, seed = DataArguments(**arguments["data"]), arguments["training"]["seed"]
        train, validation = read_data(data, seed)
    except InputError as error:
        raise InputError(f"{error}; these were the run's rows: give others by --file") from error
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{tuned.folder / RECORD_FILE}: tells of the run's rows otherwise than this version "
            f"({error}); give others by --file"
        ) from error
    return validation or train
