"""Files that appear whole or not at all."""

import contextlib
import errno
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from safetensors import SafetensorError

from adept_llm.errors import InputError


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files into a folder, each whole or not at all.

    Raises:
        InputError: if the folder cannot be written.
    """
    with named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_whole(folder / name, content)
    return folder


def write_whole(path: Path, content: bytes) -> None:
    """Write a file by way of a temporary one beside it, so that no reader sees half of it.

    Raises:
        InputError: if it cannot be written.
    """
    path = path.resolve()  # a link stays one
    if path.exists() and not path.is_file():  # such as /dev/stdout
        with named(path):
            path.write_bytes(content)
        return
    with named(path):
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        try:
            write_through(Path(temporary), content)
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Say in one line what cannot be written, and why.

    Raises:
        InputError: for what the operating system refuses in between.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error


def write_whole_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """The same as `whole_folder`, for a folder that the user named.

    Raises:
        InputError: if it cannot be written.
    """
    try:
        whole_folder(folder, write)
    except (OSError, SafetensorError) as error:
        why = " ".join(str(error).split())
        # safetensors has no errno, but says the same words
        full = any(os.strerror(one) in why for one in (errno.ENOSPC, errno.EDQUOT))
        advice = ", name a folder with room" if full else ""
        raise InputError(f"output_dir: {folder}: {why}; nothing is left there{advice}") from error


def whole_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Let a folder appear when all of it is written, or not at all.

    Args:
        folder: One that does not exist; those above it are made.
        write: Given an empty folder beside it, which then takes its name.

    Raises:
        OSError: if it cannot be written; and what `write` raises.
    """
    made = [one for one in folder.absolute().parents if not one.exists()]
    # process numbers are those of one machine or container
    unfinished = folder.parent / f"{unfinished_name(folder)}{uuid.uuid4().hex}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished.mkdir()
        try:
            write(unfinished)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    finally:
        for one in made:
            with contextlib.suppress(OSError):  # it holds something by now
                one.rmdir()


def unfinished_name(folder: Path) -> str:
    """How the names begin of folders beside it that were to become it, and may have been left."""
    return f".{folder.name}.unfinished-"


def write_through(path: Path, content: bytes) -> None:
    """Write a file, and return when it is on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Return when the names in a folder are on the disk, of files made, renamed or deleted."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
