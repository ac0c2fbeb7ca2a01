"""Published numbers, to be read beside one's own: adept_llm/report/published.yaml."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from adept_llm.errors import InputError

FILE = Path(__file__).with_name("published.yaml")
TEXTS = ("method", "task", "metric", "base", "source")


@dataclass(frozen=True)
class Published:
    """A number from a paper.

    Attributes:
        method: As this package names it, where it has it.
        task: Likewise.
        metric: Likewise.
        value: In percent; the file may also have it as a share, at most 1.
        base: The model that it was measured with.
        source: Where it stands: paper and table.
    """

    method: str
    task: str
    metric: str
    value: float
    base: str
    source: str

    @property
    def percent(self) -> float:
        """The value, whichever way it was written."""
        return 100 * self.value if abs(self.value) <= 1 else self.value


def read_published(path: Path = FILE) -> list[Published]:
    """The file's entries in their order; none where there is no such file.

    Raises:
        InputError: naming the entry that is malformed.
    """
    if not path.is_file():
        return []
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}") from error
    if content is None:
        return []
    if not isinstance(content, list):
        raise InputError(f"{path}: expected a list of entries with {', '.join(TEXTS)} and value")
    return [_entry(path, i, one) for i, one in enumerate(content, 1)]


def _entry(path: Path, number: int, one: Any) -> Published:
    where = f"{path}: entry {number}"
    if not isinstance(one, dict):
        raise InputError(f"{where} is no mapping; give it {', '.join(TEXTS)} and value")
    missing = [name for name in (*TEXTS, "value") if one.get(name) in (None, "")]
    if missing:
        raise InputError(f"{where} has no {missing[0]}; complete it")
    value = one["value"]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{where}: value {value!r} is no number; give one")
    return Published(value=float(value), **{name: str(one[name]) for name in TEXTS})


def of_tasks(entries: Iterable[Published], tasks: Iterable[str]) -> list[Published]:
    """Those of some tasks, by task."""
    wanted = list(dict.fromkeys(tasks))
    found = [one for one in entries if one.task in wanted]
    return sorted(found, key=lambda one: wanted.index(one.task))
