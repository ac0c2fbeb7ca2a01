"""adept-llm COMMAND ..: one line and exit code 2 for what is the user's to fix."""

import importlib
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path

from adept_llm import __version__
from adept_llm.cli.known_names import check_names
from adept_llm.errors import InputError

LOCAL_RANK = "--local_rank="  # which deepspeed puts in front of all that a user gives
COMMANDS = {
    "train": "tune an adapter on a frozen model",
    "evaluate": "metrics of tuned models on a split or a file",
    "generate": "answers of a tuned model to a prompt or a file",
    "export": "a tuned model for other programs, in several formats",
    "import": "an adapter of PEFT, or of DePT's or ADePT's authors, becomes one of this package",
    "chat": "a conversation with a tuned model",
    "merge": "base model and adapter become a stock checkpoint",
    "report": "a page or a table about finished runs",
    "inspect": "what an adapter does to words and attention, on a page",
    "estimate": "parameters and memory of a run, without the weights",
    "sweep": "search over arguments, then the chosen ones with several seeds",
    "tasks": "the benchmark tasks, and their examples as a model reads them",
    "doctor": "what a run needs of this machine, or of all ranks, and what it lacks",
    "completion": "a script for the shell's Tab key",
    "files": "paths of the recipes, DeepSpeed configurations, Slurm scripts and pages",
}


# torch takes seconds to import
WITHOUT_TORCH = ("completion", "files")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit code, or 2 with one line on standard error."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0].startswith(LOCAL_RANK):
        arguments = [*arguments[1:2], arguments[0], *arguments[2:]]
    if arguments == ["--version"]:
        print(f"adept_llm {__version__}")
        return 0
    if not arguments or arguments[0] not in COMMANDS:
        asked = arguments[:1] in (["--help"], ["-h"])
        print(usage(), file=sys.stdout if asked else sys.stderr)
        for close in get_close_matches(arguments[0], COMMANDS, 1) if arguments else ():
            print(f"error: {arguments[0]} is no command; did you mean {close}?", file=sys.stderr)
        return 0 if asked else 2
    if {"--help", "-h"} & set(arguments[1:]):
        print(page(arguments[0]).read_text("utf-8"), end="")
        return 0
    return told(lambda: run(*arguments))


def run(command: str, *words: str) -> int | None:
    """Run a command whose name is known.

    Raises:
        InputError: for what is the user's to fix.
    """
    check_names(command, words[1:] if words and words[0].startswith(LOCAL_RANK) else words)
    if command not in WITHOUT_TORCH:
        quiet()
    found: int | None = importlib.import_module(f"adept_llm.cli.{command}").main([*words])
    return found


def told(work: Callable[[], int | None]) -> int:
    """The exit code of some work; what is the user's to fix, and Ctrl-C, are told in a line."""
    try:
        code = work() or 0
        sys.stdout.flush()
        return code
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:  # who read is gone, as in `adept-llm files | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def usage() -> str:
    """All commands, one a line."""
    lines = [f"  {name:12}{summary}" for name, summary in COMMANDS.items()]
    ends = ("usage: adept-llm COMMAND ..", "adept-llm COMMAND --help tells more")
    return "\n".join([ends[0], *lines, ends[1]])


def page(command: str) -> Path:
    """The file with a command's --help; `python -m adept_llm.cli.write_help` writes them all.

    A page that had to ask the dataclasses would import torch and transformers first.
    """
    return Path(__file__).with_name("help") / f"{command}.txt"


def quiet() -> None:
    """Keep libraries from writing between our lines."""
    import torch

    if not torch.cuda.is_available():
        # else DeepSpeed, where it is installed, says on standard output that it found no GPU
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    if not sys.stderr.isatty():
        # bars redraw their line, which a file shows as one line of thousands of characters
        for name in ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS"):
            os.environ.setdefault(name, "1")
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
    # newer transformers rename arguments that older ones know under the old name alone
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    show_log()


def show_log() -> None:
    """What the library has to say, as lines on standard output."""
    log = logging.getLogger("adept_llm")
    log.setLevel(logging.INFO)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.handlers = [handler]


if __name__ == "__main__":
    sys.exit(main())
