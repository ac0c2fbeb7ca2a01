"""Checkpoint folders: written whole or not at all, hashed, and found again after any accident.

    run/checkpoint-40/  manifest.json and the files it names, each with its size and sha256

A checkpoint is written into a hidden folder beside its place and renamed. So whatever is called
checkpoint-* was once complete; the hashes tell whether it still is. This module knows folders and
bytes, not what is in them (see `resumable`).
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adept_llm.errors import InputError
from adept_llm.files import sync_folder, write_through

MANIFEST = "manifest.json"
PREFIX = "checkpoint-"
UNFINISHED = ".unfinished-"
DELETED = ".deleted-"


@dataclass(frozen=True)
class Found:
    """The checkpoints of a run folder.

    Attributes:
        newest: The complete one of the highest step, or None.
        skipped: 'folder: reason' of each that is newer, or was never finished.
    """

    newest: Path | None
    skipped: tuple[str, ...]


def write_checkpoint(
    run: Path, step: int, files: Mapping[str, bytes], facts: Mapping[str, Any]
) -> Path:
    """Write run/checkpoint-<step>, in place of an older one of that name.

    Args:
        run: the run's folder.
        step: optimizer steps done.
        files: file name -> content.
        facts: what a resumed run must agree with, for the manifest.

    Raises:
        InputError: if the disk is full or the folder cannot be written; nothing is left of the
            attempt, and older checkpoints are untouched.
    """
    target, draft = run / f"{PREFIX}{step}", run / f"{UNFINISHED}{step}"
    manifest = {
        "step": step,
        "facts": dict(facts),
        "files": {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        },
    }
    manifest["sha256"] = _digest(manifest)
    content = (json.dumps(manifest, indent=2) + "\n").encode()
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        for name, data in {**files, MANIFEST: content}.items():
            write_through(draft / name, data)
        sync_folder(draft)
        if target.exists() or target.is_symlink():
            remove(target)
        draft.rename(target)
        sync_folder(run)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise InputError(
            f"checkpoint: {target} cannot be written ({error.strerror}); make room there, then "
            "go on with --resume_from_checkpoint auto"
        ) from error
    return target


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint whose files are all whole.

    Raises:
        InputError: naming the first file that is missing, cut or edited.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        claimed = manifest.pop("sha256")
        names = manifest["files"].items()
    except OSError as error:
        raise InputError(f"checkpoint: {folder / MANIFEST}: {error.strerror}") from error
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(f"checkpoint: {folder / MANIFEST} is damaged") from error
    if claimed != _digest(manifest):
        raise InputError(f"checkpoint: {folder / MANIFEST} was edited")
    for name, wanted in names:
        try:
            content = (folder / name).read_bytes()
        except OSError as error:
            raise InputError(f"checkpoint: {folder / name}: {error.strerror}") from error
        if len(content) != wanted["bytes"]:
            raise InputError(
                f"checkpoint: {folder / name} has {len(content)} bytes, written were "
                f"{wanted['bytes']}"
            )
        if hashlib.sha256(content).hexdigest() != wanted["sha256"]:
            raise InputError(f"checkpoint: {folder / name} was edited")
    return manifest


def find_checkpoint(run: Path, check: Callable[[Path], object] | None = None) -> Found:
    """The newest complete checkpoint of a run, and what is newer but cannot be used.

    Args:
        run: the run's folder.
        check: raises InputError for one whose files are whole and yet cannot be used.
    """
    skipped = [f"{p}: was never finished" for p in sorted(run.glob(f"{UNFINISHED}*"))]
    for folder in reversed(checkpoints(run)):
        try:
            read_manifest(folder)
            if check:
                check(folder)
        except InputError as error:
            skipped.append(f"{folder}: {str(error).removeprefix('checkpoint: ')}")
        else:
            return Found(folder, tuple(skipped))
    return Found(None, tuple(skipped))


def checkpoints(run: Path) -> list[Path]:
    """All folders checkpoint-<step> of a run, complete or not, by step."""
    found = [p for p in run.glob(f"{PREFIX}*") if re.fullmatch(rf"{PREFIX}\d+", p.name)]
    return sorted(found, key=step_of)


def lies_in(folder: Path, run: Path) -> bool:
    """Whether a checkpoint is one of a run's folder, and not of another's."""
    return folder.resolve().parent == run.resolve()


def step_of(folder: Path) -> int:
    """The step of checkpoint-<step>."""
    return int(folder.name.removeprefix(PREFIX))


def keep_newest(run: Path, limit: int | None, best: Path | None, step: int | None = None) -> None:
    """Delete the oldest checkpoints, down to a number; the newest and the best always stay.

    Their age is their step, not the clock. Those beyond the present step could not be used, or the
    run would have begun there: they go first.

    Args:
        run: the run's folder.
        limit: how many stay; None for all.
        best: one that stays.
        step: the present one, by default the highest.
    """
    for leftover in run.glob(f"{DELETED}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    if not limit or limit < 1:
        return
    found = checkpoints(run)
    by_age = sorted(found, key=lambda p: (step is None or step_of(p) <= step, step_of(p)))
    if not by_age:
        return
    kept = {by_age[-1].resolve(), *([best.resolve()] if best else [])}
    surplus = len(by_age) - max(limit, len(kept))
    for folder in [p for p in by_age if p.resolve() not in kept][: max(0, surplus)]:
        remove(folder)


def remove(folder: Path) -> None:
    """Delete a checkpoint such that a crash in between leaves no half of it under its name."""
    doomed = folder.with_name(f"{DELETED}{folder.name}")
    if folder.is_symlink():
        folder.unlink()
        return
    shutil.rmtree(doomed, ignore_errors=True)
    folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
