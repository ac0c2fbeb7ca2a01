"""Installed packages: their versions, and whether they fit each other and this machine."""

import importlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import torch

from adept_llm.cli.checks.finding import Finding

# package -> (least version, first that is too new, what it is for), as in pyproject.toml
PACKAGES: dict[str, tuple[str, str | None, str | None]] = {
    "torch": ("2.11", "3", None),
    "transformers": ("5.17", "6", None),
    "accelerate": ("1.15", "2", None),
    "deepspeed": ("0.19.8", "0.20", "--deepspeed"),
    "bitsandbytes": ("0.50.2", "0.51", "--quantization"),
    "flash-attn": ("2.8", None, "the fastest attention"),
}
STALE = 600.0  # seconds: no operator of DeepSpeed compiles for longer
TORCH_FOR_CUDA = "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/"
REBUILD_FLASH = (
    "pip install --no-deps --no-build-isolation --no-cache-dir --force-reinstall flash-attn"
)


def versions() -> Iterator[Finding]:
    """Packages; the optional ones are noted where they are missing."""
    from packaging.version import Version

    for name, (least, below, purpose) in PACKAGES.items():
        wanted = f"{name}>={least}" + (f",<{below}" if below else "")
        install = f"pip install '{wanted}'"
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            fix = f"{install}, needed for {purpose}"
            yield Finding(name, "not installed", fix, note=purpose is not None, hint=install)
            continue
        # 2.13.0+cpu is 2.13.0, and 6.0.dev0 is as new as 6
        release = Version(Version(found).base_version)
        wrong = release < Version(least) or (below is not None and release >= Version(below))
        yield Finding(name, found, install if wrong else "", hint=install)


def why_no_gpu() -> tuple[str, str]:
    """Why torch sees no GPU where one is meant to be: what to do, and a command."""
    built, driver = torch.version.cuda, driver_cuda()
    if built is None and torch.version.hip is None:
        return (
            f"torch {torch.__version__} is built without CUDA: install one that is",
            TORCH_FOR_CUDA + "cu126",
        )
    if shutil.which("nvidia-smi") is None:
        return "the driver is not installed: nvidia-smi is missing", "nvidia-smi"
    if driver is None:
        return "the driver does not answer: look at nvidia-smi, restart the machine", "nvidia-smi"
    if built and int(driver.split(".")[0]) < int(built.split(".")[0]):
        return (
            f"torch is built for CUDA {built}, the driver knows {driver} at most: upgrade the "
            "driver, or install torch for it",
            TORCH_FOR_CUDA + f"cu{driver.replace('.', '')}",
        )
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shown is not None:
        return f"CUDA_VISIBLE_DEVICES is {shown!r}: name GPUs that are here", "nvidia-smi -L"
    return "install torch for CUDA and look at nvidia-smi", "nvidia-smi"


def driver_cuda() -> str | None:
    """The newest CUDA that the driver knows, as nvidia-smi says it; None where it says nothing."""
    try:
        told = subprocess.run(["nvidia-smi"], capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"CUDA[\w ]*Version\s*:\s*(\d+\.\d+)", told)
    return found[1] if found else None


def quantisation(use_cpu: bool) -> Iterator[Finding]:
    """Whether bitsandbytes brings a library for the CUDA that torch has."""
    spec = find_spec("bitsandbytes")
    if spec is None or spec.origin is None:
        return  # which `versions` says
    if use_cpu or not torch.cuda.is_available():
        fix = "nf4 and int8 are slow there: leave out --quantization, or take a GPU"
        yield Finding("bitsandbytes' library", "for CPUs", fix, note=True)
        return
    if torch.version.cuda is None:
        return
    folder = Path(spec.origin).parent
    found = sorted(re.findall(r"_cuda(\d+)", " ".join(p.name for p in folder.glob("*_cuda*"))))
    given = os.environ.get("BNB_CUDA_VERSION")
    built = torch.version.cuda
    fits = given in found if given else any(v[:-1] == built.split(".")[0] for v in found)
    state = f"for CUDA {', '.join(f'{v[:-1]}.{v[-1]}' for v in found) or 'none'}"
    if fits:
        yield Finding("bitsandbytes' library", f"{state}; torch is for {built}")
    elif given:
        fix = f"BNB_CUDA_VERSION is {given}: take it out, or name one that is there"
        yield Finding("bitsandbytes' library", state, fix, hint="unset BNB_CUDA_VERSION")
    else:
        fix = f"torch is for CUDA {built}: upgrade bitsandbytes, or install torch for one of these"
        hint = "pip install --upgrade bitsandbytes"
        yield Finding("bitsandbytes' library", state, fix, hint=hint)


def flash_attention() -> Iterator[Finding]:
    """Whether flash-attn, where it is installed, was compiled for this torch."""
    if find_spec("flash_attn") is None:
        return  # which `versions` says
    try:
        importlib.import_module("flash_attn")
    except (ImportError, OSError) as error:
        why = str(error).splitlines()[0][:200]
        fix = (
            "it was compiled for another torch: compile it anew, or uninstall it, and torch's own "
            "kernel is taken"
        )
        yield Finding("flash-attn's library", why, fix, hint=REBUILD_FLASH)


def operators(asked: bool) -> Iterator[Finding]:
    """What DeepSpeed compiles its operators with, and locks of compilations that were killed.

    Args:
        asked: whether the run takes DeepSpeed.
    """
    if find_spec("deepspeed") is None:
        return
    compiler = os.environ.get("CXX", "c++")
    missing = [name for name in (compiler, "ninja") if shutil.which(name) is None]
    if missing:
        fix = "DeepSpeed compiles some operators when they are first used: install them"
        hint = "pip install ninja" if missing == ["ninja"] else "apt-get install g++ ninja-build"
        yield Finding("compiler", f"no {' and no '.join(missing)}", fix, not asked, hint)
    for lock in stale_locks():
        hours = (time.time() - lock.stat().st_mtime) / 3600
        state = f"{lock} is {hours:.1f} hours old"
        fix = "a compilation was killed, and all others wait for it: remove the file"
        yield Finding("lock of an operator", state, fix, not asked, f"rm {lock}")


def stale_locks() -> list[Path]:
    """Locks under torch's folder of extensions that no compilation can hold any more."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    root = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or cache / "torch_extensions")
    long_ago = time.time() - STALE
    return sorted(p for p in root.rglob("lock") if p.is_file() and p.stat().st_mtime < long_ago)
