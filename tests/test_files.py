"""Files that appear whole or not at all."""

import errno
import os
import stat
from pathlib import Path

import pytest
from safetensors import SafetensorError

from adept_llm.errors import InputError
from adept_llm.files import (
    unfinished_name,
    whole_folder,
    write_files,
    write_whole,
    write_whole_folder,
)


@pytest.fixture
def full_disk(monkeypatch):
    """Nothing reaches the disk any more."""

    def fail(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)


def test_files_are_written_into_a_folder_that_is_made(tmp_path):
    folder = tmp_path / "a" / "b"
    assert write_files(folder, {"x.bin": b"\x00\xff", "y": b""}) == folder
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {"x.bin": b"\x00\xff", "y": b""}
    write_files(folder, {"y": b"new"})
    assert (folder / "x.bin").read_bytes() == b"\x00\xff" and (folder / "y").read_bytes() == b"new"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, full_disk):
    (tmp_path / "x").write_bytes(b"old")
    with pytest.raises(InputError, match=r"x: cannot be written \(No space left on device\)"):
        write_whole(tmp_path / "x", b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("x", b"old")]


def test_the_folder_and_the_reason_are_named(tmp_path, full_disk):
    with pytest.raises(InputError) as caught:
        write_files(tmp_path, {"x": b"new"})
    assert str(caught.value) == f"{tmp_path / 'x'}: cannot be written (No space left on device)"
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_folders_place_is_refused(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(InputError, match="run: cannot be written"):
        write_files(tmp_path / "run", {"x": b""})


def taken(path, *given, mkdir=Path.mkdir, **more):
    """Another process made it just before."""
    mkdir(path, exist_ok=True)
    if ".unfinished-" in path.name:
        raise FileExistsError(errno.EEXIST, "File exists", str(path))


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), True),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), True),
        (SafetensorError("I/O error: No space left on device (os error 28)"), True),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES), "base"), False),
        (FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "base"), False),
    ],
)
def test_room_is_asked_for_where_it_is_missing(tmp_path, error, full):
    """Another disk is no help against a file that cannot be read."""

    def fail(folder):
        (folder / "x").write_text("")
        raise error

    with pytest.raises(InputError) as caught:
        write_whole_folder(tmp_path / "out", fail)
    assert str(error) in str(caught.value)
    assert ("name a folder with room" in str(caught.value)) == full
    assert list(tmp_path.iterdir()) == []


def test_what_another_process_is_writing_stays(tmp_path, monkeypatch):
    """It may have this one's number, on another machine or in another container."""
    folder = tmp_path / "out"
    other = tmp_path / f"{unfinished_name(folder)}{os.getpid()}"
    other.mkdir()
    whole_folder(folder, lambda target: (target / "x").write_text(""))
    assert other.is_dir() and (folder / "x").is_file()
    monkeypatch.setattr(Path, "mkdir", taken)
    with pytest.raises(FileExistsError) as caught:
        whole_folder(tmp_path / "again", lambda target: None)
    assert Path(caught.value.filename).is_dir()


def test_an_interrupt_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupt(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "x", b"new")
    assert list(tmp_path.iterdir()) == []


def test_content_is_on_the_disk_before_the_file_has_its_name(tmp_path, monkeypatch):
    """Or a power cut could leave a whole name on half a file."""
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: done.append(size(handle)) or fsync(handle))
    monkeypatch.setattr(os, "replace", lambda a, b: done.append(b.name) or replace(a, b))

    def size(handle):
        return os.fstat(handle).st_size

    write_whole(tmp_path / "x", b"12345")
    assert done == [5, "x"]


def test_the_temporary_file_stands_beside_its_target_and_is_hidden(tmp_path, monkeypatch):
    """On another file system it could not be renamed; listings and globs pass it over."""
    seen = []
    monkeypatch.setattr(os, "replace", lambda a, b: seen.append(a) or os.rename(a, b))
    write_whole(tmp_path / "x", b"")
    folder, name = os.path.split(seen[0])
    assert folder == str(tmp_path) and name.startswith(".x.")


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_any_new_file(tmp_path, umask):
    """Temporary files are for their owner alone; a shared folder's files are not."""
    before = os.umask(umask)
    try:
        write_whole(tmp_path / "x", b"")
        (tmp_path / "plain").write_text("")
        assert os.umask(umask) == umask  # it was looked up and put back
    finally:
        os.umask(before)
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("x", "plain")}
    assert modes == {0o666 & ~umask}


def test_a_link_stays_a_link(tmp_path):
    """Its target is what is written."""
    (tmp_path / "link").symlink_to("target")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_bytes() == b"new"


def test_what_is_no_file_is_written_into(tmp_path):
    """A pipe or a device would be gone, /dev/stdout for the whole machine."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_whole(tmp_path / "pipe", b"new")
    assert os.read(reader, 9) == b"new" and stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    os.close(reader)
