"""llama.cpp's own converter: where it comes from, and how it is called.

It is no package of its own. The source distribution of llama-cpp-python (MIT, as llama.cpp) holds
it at a fixed commit; a checkout of llama.cpp does as well.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.util import find_spec
from pathlib import Path

import torch

from adept_llm.errors import InputError

PACKAGE, VERSION = "llama-cpp-python", "0.3.36"
CONVERTER = "convert_hf_to_gguf.py"
OUT_TYPES = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}
PARTS = (
    "conversion/",
    "gguf-py/gguf/",
    "convert_hf_to_gguf.py",
    "convert_lora_to_gguf.py",
    "LICENSE",
)
SET_FALSE = (
    "import sys; from gguf import GGUFReader; file = GGUFReader(sys.argv[1], 'r+'); "
    "field = file.get_field(sys.argv[2]); field.parts[field.data[0]][0] = 0"
)


def find_llama_cpp(given: Path | None) -> Path:
    """A folder with the converter: the given one, else the pinned one, fetched once.

    Raises:
        InputError: for a folder without it, or where it or what it imports cannot be had.
    """
    if find_spec("sentencepiece") is None:
        raise InputError(
            "gguf: llama.cpp's converter imports sentencepiece; pip install 'adept-llm[gguf]'"
        )
    if given is not None:
        if not (given / CONVERTER).is_file():
            raise InputError(f"llama_cpp: {given} has no {CONVERTER}; name a checkout of llama.cpp")
        return given
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "adept_llm" / f"llama.cpp-of-{PACKAGE}-{VERSION}"
    if not (folder / CONVERTER).is_file():
        fetch_llama_cpp(folder, PARTS)
    return folder


def fetch_llama_cpp(folder: Path, parts: tuple[str, ...]) -> None:
    """Fetch the pinned source from the package index; the folder appears whole or not at all.

    Args:
        folder: Where it shall lie; what is there is replaced.
        parts: How the names begin that are kept; ("",) keeps all.

    Raises:
        InputError: where it cannot be had.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--no-binary", PACKAGE, f"{PACKAGE}=={VERSION}"]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        done = subprocess.run(
            [*command, "--dest", scratch], capture_output=True, text=True, check=False
        )
        found = list(Path(scratch).glob("*.tar.gz"))
        if done.returncode or not found:
            why = (done.stderr.strip().splitlines() or ["nothing came"])[-1]
            raise InputError(
                f"llama_cpp: {PACKAGE} {VERSION}, which holds llama.cpp's converter, cannot be "
                f"fetched from the package index ({why}); name a checkout of llama.cpp with "
                "--llama_cpp"
            )
        unpacked = Path(scratch) / "llama.cpp"
        with tarfile.open(found[0]) as archive:
            for member in archive:
                _, _, name = member.name.partition("/vendor/llama.cpp/")
                if member.isfile() and name and name.startswith(parts):
                    (unpacked / name).parent.mkdir(parents=True, exist_ok=True)
                    content = archive.extractfile(member)
                    assert content is not None
                    (unpacked / name).write_bytes(content.read())
        shutil.rmtree(folder, ignore_errors=True)
        unpacked.rename(folder)


def convert(llama_cpp: Path, model: Path, file: Path, dtype: torch.dtype) -> None:
    """Write a folder of transformers as GGUF.

    Args:
        llama_cpp: With the converter.
        model: The folder.
        file: What to write.
        dtype: Of the folder's weights, and then of the file's matrices.

    Raises:
        InputError: for what the converter refuses, with its last line.
    """
    converter, kind = str(llama_cpp / CONVERTER), OUT_TYPES[dtype]
    _run(llama_cpp, [converter, str(model), "--outfile", str(file), "--outtype", kind])


def add_no_bos(llama_cpp: Path, file: Path) -> None:
    """Have readers of a GGUF add no BOS: it would stand before the prompt."""
    _run(llama_cpp, ["-c", SET_FALSE, str(file), "tokenizer.ggml.add_bos_token"])


def _run(llama_cpp: Path, arguments: list[str]) -> None:
    # the gguf that belongs to the converter, whichever is installed
    path = os.pathsep.join([str(llama_cpp / "gguf-py"), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path.strip(os.pathsep)}
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise InputError(f"gguf: llama.cpp's converter refuses the model: {why}")
