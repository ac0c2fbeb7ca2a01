"""adept-llm report RUN.. --output page.html: one page, or one table, about any number of runs."""

from collections.abc import Sequence
from pathlib import Path

from adept_llm.cli.parsing import check_output
from adept_llm.cli.plain_parser import PlainParser
from adept_llm.errors import InputError
from adept_llm.files import write_whole
from adept_llm.report.figures import check_matplotlib
from adept_llm.report.groups import Comparison
from adept_llm.report.page import page
from adept_llm.report.published import read_published
from adept_llm.report.runs import find_runs
from adept_llm.report.text import latex, long_csv, markdown

TABLES = {".md": markdown, ".tex": latex, ".csv": long_csv}
PAGE = ".html"


def main(argv: Sequence[str]) -> None:
    """Find the runs, compare them, write the file.

    Raises:
        InputError: for a place without runs, a file that is damaged, or an unknown suffix.
    """
    parser = PlainParser("report")
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="folder of a run, or one that holds runs below it"
    )
    parser.add_argument(
        "--output", required=True, metavar="FILE",
        help="page.html; or the table of results as .md or .tex, or all groups as .csv",
    )  # fmt: skip
    parser.add_argument(
        "--levels", nargs="+", type=float, default=[], metavar="SHARE",
        help="levels of the metrics, such as 0.8 0.9, to tell the steps to; default: round ones",
    )  # fmt: skip
    args = parser.parse_args(argv)
    path = Path(args.output)
    if path.suffix not in (PAGE, *TABLES):
        known = ", ".join((PAGE, *TABLES))
        raise InputError(f"output: {path} has an unknown suffix; give one of {known}")
    check_output("output", args.output)
    if path.suffix == PAGE:
        check_matplotlib()
    runs, unfinished = find_runs(args.runs)
    if path.suffix == PAGE:
        text = page(runs, unfinished, read_published(), args.levels)
    else:
        text = TABLES[path.suffix](Comparison.of(runs))
    write_whole(path, text.encode())
    left = f", {len(unfinished)} unfinished left out" if unfinished else ""
    print(f"{path}: {len(runs)} run{'s' if len(runs) > 1 else ''}{left}")
