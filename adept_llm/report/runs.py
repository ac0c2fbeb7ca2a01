"""Finished runs as they lie in folders: run.json, log.jsonl, test.json and predictions.jsonl.

Runs of other programs are read too, with whatever fields they have: what is missing is None.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from adept_llm.errors import InputError
from adept_llm.record import RECORD_FILE, read_content
from adept_llm.training.checkpoints.folders import checkpoints
from adept_llm.training.log_file import LOG_FILE, read_log

TEST_FILE = "test.json"
UNNAMED = "(not named)"


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        folder: Where it lies.
        content: Of run.json.
        log: Step -> numbers by name, see `read_log`; empty without a log.
        test: Metrics on the test split, of `--do_predict` or of `adept-llm evaluate`; empty where
            none were measured.
    """

    folder: Path
    content: Mapping[str, Any]
    log: Mapping[int, Mapping[str, float]]
    test: Mapping[str, float]

    @classmethod
    def read(cls, folder: Path) -> "Run | None":
        """The run in a folder; None for one that has no results as yet, or no run.json.

        Raises:
            InputError: for a file that is damaged.
        """
        if not (folder / RECORD_FILE).is_file():
            return None
        content = _json(folder / RECORD_FILE, lambda: read_content(folder))
        if not isinstance(content.get("results"), dict):
            return None
        test = numbers(content["results"].get("test"))
        if not test and (path := folder / TEST_FILE).is_file():
            test = numbers(_json(path, lambda: json.loads(path.read_bytes())))
        log = read_log(folder) if (folder / LOG_FILE).is_file() else {}
        return cls(folder, content, log, test)

    def value(self, *names: str) -> Any:
        """A field of run.json by the names that lead to it; None where one of them is missing."""
        found: Any = self.content
        for name in names:
            found = found.get(name) if isinstance(found, dict) else None
        return found

    def number(self, *names: str) -> float | None:
        """Likewise, a finite number."""
        return finite(self.value(*names))

    @property
    def method(self) -> str:
        """Name of the method."""
        return str(self.value("adapter", "method") or UNNAMED)

    @property
    def benchmark(self) -> str | None:
        """Name of the benchmark task; None for other data."""
        return str(self._data.get("task") or "") or None

    @property
    def train_file(self) -> Path | None:
        """The user's own file; None for other data."""
        file = self._data.get("train_file")
        return Path(os.path.normpath(str(file))) if file and not self.benchmark else None

    @property
    def task(self) -> str:
        """Name of the benchmark task, or of the user's own file; with the shots where few.

        Files of several runs may share it: see `data_names`.
        """
        name = self.benchmark or (self.train_file.stem if self.train_file else UNNAMED)
        return f"{name}, {self._data['k_shot']} shots" if self._data.get("k_shot") else name

    @property
    def _data(self) -> Mapping[str, Any]:
        data = self.value("arguments", "data")
        return data if isinstance(data, dict) else {}

    @property
    def base(self) -> str:
        """Name or folder of the base model."""
        return str(self.value("base", "name_or_path") or UNNAMED)

    @property
    def seeds(self) -> tuple[Any, Any]:
        """Of the training, and of the adapter's start."""
        return self.value("arguments", "training", "seed"), self.value("adapter", "init_seed")

    @cached_property
    def validation(self) -> dict[str, float]:
        """Metrics on the validation split after training."""
        return numbers(self.value("results", "after"))

    def logged(self, name: str) -> dict[int, float]:
        """Step -> a logged number, where it is finite."""
        pairs = ((step, finite(entry.get(name))) for step, entry in self.log.items())
        return {step: value for step, value in pairs if value is not None}

    def measured(self, metric: str) -> dict[int, float]:
        """Step -> a metric on the validation split, that of the untrained model at step 0."""
        return self.logged(f"start_{metric}") | self.logged(f"eval_{metric}")


def find_runs(places: Sequence[str | Path]) -> tuple[list[Run], list[Path]]:
    """All finished runs in or below some folders, each once, and the folders of unfinished ones.

    Raises:
        InputError: for a place without any run, or a file that is damaged.
    """
    runs: dict[Path, Run] = {}
    unfinished: dict[Path, Path] = {}
    for place in places:
        folders = list(_folders(Path(place)))
        if not folders:
            raise InputError(
                f"{place}: holds no run, since no folder there has a {RECORD_FILE}; give the "
                "output_dir of a run, or a folder above some"
            )
        for folder in folders:
            own = folder.resolve()
            if own in runs or own in unfinished:
                continue
            run = Run.read(folder)
            if run is None:
                unfinished[own] = folder
            else:
                runs[own] = run
    if not runs:
        given = ", ".join(map(str, places))
        raise InputError(f"{given}: none of the runs there is finished; finish one first")
    return list(runs.values()), list(unfinished.values())


def _folders(place: Path) -> Iterator[Path]:
    """Folders of runs, in order: with a run.json, or with checkpoints that have one.

    What lies below a finished run is not looked at, nor are checkpoints. Links are followed, but
    no folder is looked at twice.
    """
    if not place.is_dir():
        raise InputError(f"{place}: there is no such folder; give folders of runs")
    seen: set[Path] = set()
    for name, below, files in os.walk(place, followlinks=True):
        folder = Path(name)
        if (own := folder.resolve()) in seen:
            below.clear()
            continue
        seen.add(own)
        kept = checkpoints(folder)
        if RECORD_FILE in files or any((one / RECORD_FILE).is_file() for one in kept):
            yield folder
        inner = [] if RECORD_FILE in files else set(below) - {one.name for one in kept}
        below[:] = sorted(inner)


def _json(path: Path, read: Any) -> Any:
    try:
        return read()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error}); write it anew") from error


def finite(value: Any) -> float | None:
    """A number as float; None for what is none, or not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def numbers(values: Any) -> dict[str, float]:
    """Those of a mapping's values that are finite numbers, by name; empty for anything else."""
    if not isinstance(values, dict):
        return {}
    pairs = ((str(name), finite(value)) for name, value in values.items())
    return {name: value for name, value in pairs if value is not None}
