"""A grid file: a line for each run of a Slurm array, with its arguments quoted as for a shell.

    python -m adept_llm.sweep.grid_file FILE TASK

prints the name of a task's folder and its arguments, each ended by a NUL, for slurm/sweep.sbatch.
Empty lines and comments are no tasks. A line may begin with the folder's name, by default the
task's number.
"""

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from adept_llm.errors import InputError

RECIPES = (".yaml", ".yml", ".json")


def line_of(name: str, words: Sequence[str]) -> str:
    """A line of the file.

    Args:
        name: Of the run's folder.
        words: Of its command line.

    Raises:
        InputError: One of them has more than one line.
    """
    for word in words:
        if "".join(word.splitlines()) != word:
            raise InputError(
                f"slurm: an argument of {name} has a line break, and a task of an array is one "
                f"line: {word[:40]!r}; leave out --slurm, or the line break"
            )
    return shlex.join([name, *words]) + "\n"


def task_of(path: Path, task: int) -> tuple[str, list[str]]:
    """The folder's name and the words of a task.

    Args:
        path: Of the file.
        task: Its number, from 0.

    Raises:
        InputError: The file cannot be read, has no such task, or its line cannot be used.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    tasks = [n for n, line in enumerate(lines, 1) if not re.match(r"\s*(#|$)", line)]
    if task >= len(tasks):
        raise InputError(f"{path}: has {len(tasks)} tasks, and none {task} (counted from 0)")
    where = f"{path}:{tasks[task]}"
    try:
        words = _split(lines[tasks[task] - 1])
    except ValueError as error:
        raise InputError(f"{where}: a quotation is not closed ({error})") from error
    if words[0].startswith("--"):
        return str(task), words
    name = words.pop(0)
    if name.endswith(RECIPES):
        raise InputError(
            f"{where}: begins with {name}, where a folder's name may stand; recipes stand behind "
            "the grid file in the sbatch line"
        )
    return name, words


def _split(line: str) -> list[str]:
    """The words in front of a comment, which begins a word, as for a shell; `a#b` holds none."""
    for comment in re.finditer(r"(?<!\S)#", line):
        try:
            return shlex.split(line[: comment.start()])
        except ValueError:  # it stands in a quotation
            continue
    return shlex.split(line)


def main(argv: Sequence[str]) -> int:
    """Print a task's words, or why there are none.

    Returns:
        The exit code.
    """
    file, task = argv
    try:
        name, words = task_of(Path(file), int(task))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("".join(f"{word}\0" for word in (name, *words)), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
