"""Every command line that a page shows names a command, arguments and values that there are."""

import argparse
import importlib
import importlib.util
import re
import shlex
from functools import cache

import pytest

from adept_llm.cli.files import find
from adept_llm.cli.main import COMMANDS
from adept_llm.tasks import get_task
from tests.docs.pages import PAGES, ROOT, commands, name

LINES = [(name(page), *line) for page in PAGES for line in commands(page)]
SCRIPTS = {
    "recipes/llama2_adept.py": "train",
    "slurm/train.sbatch": "train",
    "slurm/sweep.sbatch": "train",
    "slurm/evaluate.sbatch": "evaluate",
}
PLACEHOLDER = re.compile(r"[A-Z_]+$|\.\.+$|FILE\.yaml$")


class Asked(Exception):
    """Carries the parser of a command out of it, before it reads anything."""

    def __init__(self, parser):
        self.parser = parser


@cache
def options(command):
    """A command's arguments, by the parser that it makes: name -> argparse's action."""
    if command.endswith(".py"):
        spec = importlib.util.spec_from_file_location("asked", ROOT / command)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    else:
        module = importlib.import_module(f"adept_llm.cli.{command}")

    def ask(self, *args, **kwargs):
        raise Asked(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_known_args", ask)
        with pytest.raises(Asked) as asked:
            module.main([])
    found = dict(asked.value.parser._option_string_actions)
    return {**options("train"), **found} if command == "sweep" else found


def calls(line):
    """The commands of this package within a line, with the words behind them."""
    words = shlex.split(re.sub(r"[\[\]]", "", line), comments=True)
    for place, word in enumerate(words):
        inner = word.removeprefix("$(")
        if inner in ("adept-llm", "adept_llm.cli.main") and place + 1 < len(words):
            rest = words[place + 1 :]
            ends = [n for n, one in enumerate(rest) if one.endswith(")") or one in ("&&", "|", ">")]
            end = ends[0] + rest[ends[0]].endswith(")") if ends else len(rest)
            yield rest[0].rstrip(")"), [one.rstrip(")") for one in rest[1:end]]
        elif word in SCRIPTS:
            yield SCRIPTS[word], words[place + 1 :]
        elif word == "recipes/compare.py":
            yield word, words[place + 1 :]


def wrong(command, words):
    """What is wrong with the arguments of a command."""
    known, values = options(command), []
    for place, word in enumerate(words):
        if not word.startswith("--"):
            continue
        argument = word.partition("=")[0].split(".")[0]
        if argument in ("--help", "--help_all", "--version"):
            continue
        if argument not in known:
            yield f"{argument} is no argument of {command}"
            continue
        values = words[place + 1 :]
        ends = [n for n, one in enumerate(values) if one.startswith("--")]
        values = values[: ends[0]] if ends else values
        action = known[argument]
        if action.choices and values:
            for value in values[0].split("|"):
                if value not in map(str, action.choices) and not PLACEHOLDER.match(value):
                    yield f"{argument} cannot be {value}"


@pytest.mark.parametrize("where", sorted({place for place, _, _ in LINES}))
def test_command_lines(where):
    found = []
    for place, number, line in LINES:
        for command, words in calls(line) if place == where else ():
            if command.startswith("--") or PLACEHOLDER.match(command):
                continue
            if command not in COMMANDS and command not in SCRIPTS and not command.endswith(".py"):
                problems = [f"{command} is no command"]
            elif command == "files":
                problems = []
                assert all(find(word).exists() for word in words)
            else:
                problems = list(wrong(command, words))
            if command == "tasks" and words and not PLACEHOLDER.match(words[0]):
                assert get_task(words[0])
            found += [f"{where}:{number}: {problem}" for problem in problems]
    assert not found


def test_the_lines_are_found():
    """Else the test above would pass on nothing."""
    shown = {command for _, _, line in LINES for command, _ in calls(line)}
    assert len(LINES) > 100 and set(COMMANDS) <= shown
    assert list(wrong("train", ["--method", "adpet", "--lerning_rate", "1"])) == [
        "--method cannot be adpet",
        "--lerning_rate is no argument of train",
    ]


def test_targets_of_make_modules_and_extras():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    missing = []
    for place, number, line in LINES:
        words = line.split()
        if words[0] == "make" and not re.search(rf"^{words[1]}:", makefile, re.M):
            missing.append((place, number, line))
        for module in re.findall(r"-m (benchmarks\.\w+|tests[\w.]+|adept_llm[\w.]+)", line):
            path = ROOT / module.replace(".", "/")
            if not (path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()):
                missing.append((place, number, module))
        for extras in re.findall(r"(?:'\.|adept-llm)\[([\w,]+)\]", line):
            missing += [
                (place, number, extra)
                for extra in extras.split(",")
                if not re.search(rf"^{extra} = \[", project, re.M)
            ]
    assert not missing
