"""The pinned source of llama.cpp: what of it is kept."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from adept_llm.export.llama_cpp import PARTS, fetch_llama_cpp

NAMES = ("setup.py", "vendor/llama.cpp/LICENSE", "vendor/llama.cpp/tools/server/main.cpp")


@pytest.fixture
def index(monkeypatch):
    """A package index that has a distribution with a few files."""

    def download(command, **_):
        path = Path(command[command.index("--dest") + 1]) / "llama_cpp_python-0.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for name in NAMES:
                entry = tarfile.TarInfo(f"llama_cpp_python-0/{name}")
                entry.size = len(name)
                archive.addfile(entry, io.BytesIO(name.encode()))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr("adept_llm.export.llama_cpp.subprocess.run", download)


@pytest.mark.parametrize(
    ("parts", "kept"), [(PARTS, {"LICENSE"}), (("",), {"LICENSE", "tools/server/main.cpp"})]
)
def test_the_wanted_parts_of_llama_cpp_are_kept_and_nothing_beside_it(tmp_path, index, parts, kept):
    folder = tmp_path / "llama.cpp"
    folder.mkdir()
    (folder / "left").touch()
    fetch_llama_cpp(folder, parts)
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == kept
    assert (folder / "LICENSE").read_text() == "vendor/llama.cpp/LICENSE"
    assert list(tmp_path.iterdir()) == [folder]
