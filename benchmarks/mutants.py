"""What the tests would not notice: mutmut changes a room line by line and runs the room's tests.

    make mutants ROOM=packing               # or a file by its own tests: ROOM=packing/layout.py
    make mutants ROOM=training NAMES='*[16]'    # one in five, the first of each function among them
    nice -n 10 make mutants ROOM=training CHILDREN=2 >mutants.log 2>&1 &

Each room is copied to build/mutants/, changed and tested there; a run that was killed goes on where
it stood, and after a change of code or tests only what may differ is run again. The result is
benchmarks/results/mutants_<room>.txt: counts, and each survivor with its changed line. A survivor
that no test can kill is explained in benchmarks/mutants_explained.yaml.

Not changed: decorated functions (properties too), code outside of functions, and the wording of
errors. Needs `pip install mutmut` (3.8).
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
EXPLAINED = ROOT / "benchmarks" / "mutants_explained.yaml"
COPIED = ("adept_llm", "tests", "ds_configs", "recipes", "slurm", "pyproject.toml")
# these start processes of their own, for minutes or where changed code cannot be imported
SLOW = (
    "tests/training/test_distributed.py", "tests/cli/test_commands.py",
    "tests/evaluation/programs", "tests/evaluation/test_every_task.py",
)  # fmt: skip
# rooms whose code is tested in another room's folder as well
MORE_TESTS = {"evaluation": ["tests/cli/test_answers.py"]}
CONFIGURATION = """
[tool.mutmut]
source_paths = ["adept_llm"]
only_mutate = {only}
also_copy = ["ds_configs", "recipes", "slurm"]
pytest_add_cli_args_test_selection = {tests}
pytest_add_cli_args = ["--hypothesis-profile=mutants", "-p", "no:cacheprovider"]
do_not_mutate_patterns = ['raise \\w+\\(', 'print\\(', 'logger\\.\\w+']
timeout_multiplier = 5.0
timeout_constant = 20.0
process_isolation = "forkserver" # torch is imported once, and each mutant forked from there
"""
# seeded and without deadlines, as a mutant's fate must not hang on chance or on a busy machine; one
# failure is enough, so the smallest failing example is not searched for
PROFILE = """
from hypothesis import Phase, settings

settings.register_profile(
    "mutants", settings.get_profile("ci"), phases=(Phase.explicit, Phase.generate)
)
"""


@dataclass(frozen=True)
class Survivor:
    """A change that no test noticed.

    Attributes:
        name: mutmut's, such as 'adept_llm.packing.layout.x_f__mutmut_3'.
        status: 'survived', 'no tests', 'timeout', ..
        lines: The changed lines, those before the change with '-' and those after it with '+'.
    """

    name: str
    status: str
    lines: tuple[str, ...]

    @property
    def file(self) -> str:
        """Such as 'packing/layout.py'."""
        module = self.name.rsplit(".", 1)[0]
        return module.removeprefix("adept_llm.").replace(".", "/") + ".py"


def prepare(room: str) -> Path:
    """Copy what is tested, with mutmut's configuration for the room; old results stay there."""
    folder = ROOT / "build" / "mutants" / room.replace("/", "_").removesuffix(".py")
    folder.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        source, target = ROOT / name, folder / name
        if source.is_file():
            shutil.copy2(source, target)
        elif source.is_dir():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "tests" / "conftest.py").open("a") as file:
        file.write(PROFILE)
    path = Path(room)
    first = path.parts[0]
    tests = [f"tests/{first}", *MORE_TESTS.get(first, [])]
    own = path.with_name(f"test_{path.name}")
    if (ROOT / "tests" / own).is_file():  # a single file: its own tests
        tests = [f"tests/{own}"]
    tests += [f"--ignore={slow}" for slow in SLOW]
    only = f"adept_llm/{room}" + ("" if room.endswith(".py") else "/*")
    with (folder / "pyproject.toml").open("a") as file:
        file.write(CONFIGURATION.format(only=[only], tests=tests))
    return folder


def mutmut(folder: Path, *words: str, quiet: bool = True) -> str:
    """Run a command of mutmut in a room's folder."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "mutmut", *words], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE if quiet else None,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"mutmut {words[0]} failed in {folder}\n{(done.stdout or '')[-2000:]}")
    return done.stdout or ""


def statuses(folder: Path) -> dict[str, str]:
    """Status of each mutant by name."""
    lines = mutmut(folder, "results", "--all", "true").splitlines()
    pairs = (line.strip().rpartition(": ") for line in lines if "__mutmut_" in line)
    return {name: status for name, _, status in pairs}


def changed_lines(folder: Path, name: str) -> tuple[str, ...]:
    """The lines of a mutant's diff that differ."""
    lines = mutmut(folder, "show", name).splitlines()
    changed = [x for x in lines if x[:1] in "+-" and not x.startswith(("---", "+++"))]
    return tuple(f"{x[0]} {x[1:].strip()}" for x in changed if x[1:].strip())


def explanation(survivor: Survivor, known: dict[str, list[dict[str, Any]]]) -> str | None:
    """Why no test can kill a survivor, if somebody has said so.

    Args:
        survivor: the mutant.
        known: the file of explanations, `words` and `mutants`.
    """
    for entry in known["mutants"]:
        if entry["file"] == survivor.file and tuple(entry["lines"]) == survivor.lines:
            return str(entry["why"])
    for entry in known["words"]:
        bare = {re.sub(rf"{entry['pattern']}|[\s,]", "", line[1:]) for line in survivor.lines}
        if len(bare) == 1:
            return str(entry["why"])
    return None


def report(room: str, found: dict[str, str], survivors: list[Survivor], seconds: float) -> str:
    """The result list as text."""
    known = yaml.safe_load(EXPLAINED.read_text())
    counts = Counter(found.values())
    total = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    lines = [
        f"{room}: {len(found)} mutants: {total}",
        f"{seconds:.0f} s in the last run, which tests only what is not known yet",
        "",
    ]
    for one in survivors:
        function = one.name.rsplit(".", 1)[1].rpartition("__mutmut_")[0]
        function = function.removeprefix("x").replace("ǁ", ".").strip("._")
        lines += [f"{one.file} {function}: {one.status}", *(f"    {x}" for x in one.lines)]
        why = explanation(one, known)
        lines += [f"    explained: {why}" if why else "    TO BE KILLED OR EXPLAINED", ""]
    return "\n".join(lines)


def main() -> None:
    """Run one room and write its list."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("room", help="folder or file of adept_llm, such as packing")
    parser.add_argument("--children", type=int, default=1, help="mutants tested at a time")
    parser.add_argument(
        "--names", default="*", help="which: '*[16]' takes each function's 1., 6., .."
    )
    given = parser.parse_args()
    room = given.room.strip("/")
    if not (ROOT / "adept_llm" / room).exists():
        parser.error(f"adept_llm/{room} does not exist")
    folder = prepare(room)
    start = time.monotonic()
    mutmut(folder, "run", "--max-children", str(given.children), given.names, quiet=False)
    seconds = time.monotonic() - start
    found = {name: status for name, status in statuses(folder).items() if status != "not checked"}
    alive = {n: s for n, s in found.items() if s not in ("killed", "caught by type check")}
    survivors = [Survivor(n, s, changed_lines(folder, n)) for n, s in sorted(alive.items())]
    text = report(room, found, survivors, seconds)
    whole = not room.endswith(".py")  # the list of a single file is only shown
    place = ROOT / "benchmarks" / "results" if whole else folder
    (place / f"mutants_{folder.name}.txt").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
