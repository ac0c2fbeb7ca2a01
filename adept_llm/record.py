"""run.json: what a run was given, what it ran on and what came out; written and read here alone.

A finished run has one beside its adapter, and no other run has. Each checkpoint holds one without
results, so that it can be evaluated before its run is finished.
"""

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from adept_llm import __version__
from adept_llm.errors import InputError
from adept_llm.files import write_files

RECORD_FILE = "run.json"
VERSION = 1
LABELS, FREE_TEXT = "labels", "free text"
PACKAGES = (
    "torch", "transformers", "accelerate", "datasets", "tokenizers", "deepspeed", "bitsandbytes",
    "flash-attn",
)  # fmt: skip


@dataclass(frozen=True)
class BaseRecord:
    """The frozen base and how it was read."""

    name_or_path: str
    revision: str | None
    dtype: str
    quantization: str


@dataclass(frozen=True)
class DataRecord:
    """What was learnt and measured.

    Attributes:
        kind: 'labels' or 'free text'.
        labels: The label words; empty for free text, and where they differ from row to row.
        template: How rows were written.
        max_length: Tokens of prompt and target.
        train_rows: Encoded training examples.
        train_fingerprint: Of the training examples, see `data.fingerprint`.
        validation_rows: Measured examples.
        validation_fingerprint: Of the measured examples, '' where there were none.
        loss_on: What was learnt of a row, see `data.Encoder`.
        form: How the training rows ask, see `data.Example.form`; '' where nothing tells.
    """

    kind: str
    labels: tuple[str, ...]
    template: str
    max_length: int
    train_rows: int
    train_fingerprint: str
    validation_rows: int = 0
    validation_fingerprint: str = ""
    loss_on: str = "target"
    form: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))
        if self.kind not in (LABELS, FREE_TEXT):
            raise TypeError(f"kind: {self.kind!r} is unknown")
        if not all(isinstance(word, str) for word in self.labels):
            raise TypeError("labels: are no strings")
        if type(self.max_length) is not int or not isinstance(self.template, str):
            raise TypeError("template, max_length: are no string and number")
        if not isinstance(self.loss_on, str) or not isinstance(self.form, str):
            raise TypeError("loss_on, form: are no strings")


@dataclass(frozen=True)
class RunRecord:
    """All that is known of a run.

    Attributes:
        base: The frozen base.
        adapter: The adapter's configuration.
        data: What was learnt and measured.
        arguments: Name of a group of arguments -> their values, of the types that they have.
        command: The command line.
        versions: Package -> version, Python's and adept_llm's own among them.
        git_revision: Of the checkout that adept_llm ran from, None for an installed package.
        date: When the run was started, in UTC.
        hardware: Device, cores and ranks.
        results: Numbers of the finished run; None before its end.
        version: Of this format.
    """

    base: BaseRecord
    adapter: Mapping[str, Any]
    data: DataRecord
    arguments: Mapping[str, Mapping[str, Any]]
    command: tuple[str, ...]
    versions: Mapping[str, str]
    git_revision: str | None
    date: str
    hardware: Mapping[str, Any]
    results: Mapping[str, Any] | None = None
    version: int = VERSION

    @classmethod
    def start(
        cls,
        base: BaseRecord,
        adapter: Mapping[str, Any],
        data: DataRecord,
        arguments: Mapping[str, Mapping[str, Any]],
        command: Sequence[str] | None = None,
    ) -> "RunRecord":
        """A record of a run that begins now, on this machine."""
        now = datetime.datetime.now(datetime.timezone.utc)
        return cls(
            base=base, adapter=adapter, data=data, arguments=arguments,
            command=tuple(sys.argv if command is None else command), versions=versions(),
            git_revision=git_revision(), date=now.isoformat(timespec="seconds"),
            hardware=hardware(),
        )  # fmt: skip

    def finished(self, results: Mapping[str, Any]) -> "RunRecord":
        """The same with results."""
        return replace(self, results=results)

    def to_bytes(self) -> bytes:
        """The content of run.json."""
        return (json.dumps(asdict(self), indent=2) + "\n").encode()

    def write(self, folder: str | Path) -> None:
        """Write folder/run.json, whole or not at all.

        Raises:
            InputError: if the folder cannot be written.
        """
        write_files(Path(folder), {RECORD_FILE: self.to_bytes()})

    @classmethod
    def read(cls, folder: str | Path) -> "RunRecord | None":
        """The record in a folder; None where there is none.

        Raises:
            InputError: for a file that is damaged, or of another version of this format.
        """
        path = Path(folder) / RECORD_FILE
        if not path.is_file():
            return None
        try:
            content = read_content(folder)
            if content.get("version") != VERSION:
                raise TypeError(f"version {content.get('version')} instead of {VERSION}")
            known = {field.name for field in fields(cls)}
            given = {name: value for name, value in content.items() if name in known}
            given["base"] = BaseRecord(**given["base"])
            given["data"] = DataRecord(**given["data"])
            given["command"] = tuple(given["command"])
            return cls(**given)
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise InputError(
                f"{path}: is not what a training run of this version writes ({error}); remove it, "
                "then --template, --max_length and --quantization are yours to give"
            ) from error


def read_content(folder: str | Path) -> dict[str, Any]:
    """What a folder's run.json says, unchecked: other programs' runs have other fields.

    Raises:
        ValueError: for a file that is no JSON object.
        OSError: for one that cannot be read.
    """
    content = json.loads((Path(folder) / RECORD_FILE).read_bytes())
    if not isinstance(content, dict):
        raise ValueError("no JSON object")
    return content


def versions() -> dict[str, str]:
    """Versions of what is installed here, by package."""
    found = {"adept_llm": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_revision() -> str | None:
    """Commit of the checkout that this file lies in, '-dirty' where it was changed; else None."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def hardware() -> dict[str, Any]:
    """Device, cores and ranks of this run."""
    import torch

    gpu = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if gpu else platform.processor() or "CPU",
        "gpus": torch.cuda.device_count(),
        "cpu_cores": os.cpu_count(),
        "ranks": int(os.environ.get("WORLD_SIZE", "1")),
        "platform": platform.platform(),
    }
