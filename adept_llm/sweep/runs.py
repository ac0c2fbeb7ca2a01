"""One run of a sweep: its folder, its command line and what came of it."""

import json
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from adept_llm.errors import InputError
from adept_llm.files import write_files
from adept_llm.record import RECORD_FILE, RunRecord
from adept_llm.sweep.plan import Setting, SweepPlan

WORDS_FILE = "arguments.json"
OUTPUT_FILE = "output.log"


@dataclass(frozen=True)
class Run:
    """A run that is to be, or has been.

    Attributes:
        folder: Its own, named by what sets it apart.
        words: Arguments of the command line, without the folder.
        program: What takes them.
        metric: Without which it is of no use to the sweep; '' for none.
    """

    folder: Path
    words: tuple[str, ...]
    program: str
    metric: str = ""

    @classmethod
    def of(
        cls, plan: SweepPlan, setting: Setting, seed: int, more: Mapping[str, Any], stage: str
    ) -> "Run":
        """The run of a setting.

        Args:
            plan: Whose run it is.
            setting: What varies.
            seed: Of data order and initial values.
            more: Arguments beyond the plan's, which they override.
            stage: Name of the folder that holds it.
        """
        arguments = {**plan.arguments, **setting, **more, "seed": seed}
        if plan.program == "train":
            arguments.setdefault("init_seed", seed)
        recipe = arguments.pop("recipe", None)
        words = [str(recipe)] if recipe else []
        for name, value in arguments.items():
            words += to_words(name, value)
        named = {**setting, "seed": seed}
        folder = (
            Path(plan.output_dir) / stage / ",".join(f"{k}={_name(v)}" for k, v in named.items())
        )
        return cls(folder, tuple(words), plan.program)

    @classmethod
    def read(cls, folder: Path) -> "Run":
        """The run of `train` whose arguments were laid into a folder."""
        return cls(folder, tuple(json.loads((folder / WORDS_FILE).read_text())), "train")

    def command(self) -> list[str]:
        """What starts it on this machine."""
        program = (
            ["-m", "adept_llm.cli.main", "train"] if self.program == "train" else [self.program]
        )
        return [sys.executable, *program, *self.arguments()]

    def arguments(self) -> list[str]:
        """Words of its command line; a checkpoint is gone on from, other leftovers are not."""
        resumes = any(self.folder.glob("checkpoint-*"))
        # both, because a recipe may hold either, and they exclude each other
        how = {
            "resume_from_checkpoint": "auto" if resumes else "",
            "overwrite_output_dir": str(not resumes).lower(),
        }
        words = [word for name, value in how.items() for word in to_words(name, value)]
        return [*self.words, "--output_dir", str(self.folder), *words]

    def is_finished(self) -> bool:
        """Whether it has results, by these very arguments.

        Raises:
            InputError: for a folder of other arguments.
        """
        path = self.folder / WORDS_FILE
        if not (self.folder / RECORD_FILE).is_file():
            return False
        if path.is_file() and json.loads(path.read_text()) != list(self.words):
            raise InputError(
                f"output_dir: {self.folder} was made with other arguments (its {WORDS_FILE}); give "
                "the sweep another output_dir, or delete that folder"
            )
        return True

    def prepare(self) -> None:
        """Lay the arguments into its folder."""
        content = json.dumps(self.words, indent=1) + "\n"
        write_files(self.folder, {WORDS_FILE: content.encode()})

    def results(self) -> Mapping[str, Any] | None:
        """The numbers of the finished run; None of one that failed."""
        record = RunRecord.read(self.folder)
        return record.results if record else None

    def value(self, metric: str) -> float:
        """The validation metric, so that less is better; inf for a failure.

        Raises:
            InputError: for a metric that was not measured.
        """
        results = self.results()
        if results is None:
            return math.inf
        found = results["after"]
        if metric not in found:
            known = ", ".join(found) or "none: there is no validation split"
            raise InputError(
                f"metric: {metric!r} was not measured in {self.folder}; known: {known}"
            )
        value = float(found[metric]) if metric == "loss" else -float(found[metric])
        return value if math.isfinite(value) else math.inf

    def error(self) -> str | None:
        """The line by which it refused to begin or to go on; None where it said none."""
        path = self.folder / OUTPUT_FILE
        lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
        found = next((line for line in reversed(lines) if line.startswith("error: ")), None)
        return found and found.removeprefix("error: ")

    def diverged(self) -> bool:
        """Whether it ended at a loss that was not finite."""
        return (self.error() or "").startswith("loss: ")

    def failed(self) -> bool:
        """Whether it has no result, or not the one that is needed; the sweep has none then."""
        results = self.results()
        if results is None:
            return not self.diverged()
        return bool(self.metric) and self.metric not in results["after"]

    def __str__(self) -> str:
        """Its folder and its numbers, in a line."""
        results = self.results() or {}
        numbers = [f"{name} {value:.4f}" for name, value in results.get("after", {}).items()]
        return f"{self.folder}: {', '.join(numbers) or self.error() or 'no result'}"


def to_words(name: str, value: Any) -> list[str]:
    """An argument as words of the command line."""
    if value is None:
        return []
    values = value if isinstance(value, list | tuple) else [value]
    return [f"--{name}", *(_word(one) for one in values)]


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, dict) else str(value)


def _name(value: Any) -> str:
    """A value as part of a folder's name; one that had to be changed for that gets a digest."""
    given = _word(value)
    name = re.sub(r"[^\w.+-]+", "_", given)[:40]
    return name if name == given else f"{name}-{sha256(given.encode()).hexdigest()[:8]}"
