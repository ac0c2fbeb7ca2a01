"""Packages that are old, new, missing or built for something else: each is provoked, and named."""

import os
import sys
import time
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import torch

from adept_llm.cli.checks import packages
from adept_llm.cli.checks.packages import (
    PACKAGES,
    flash_attention,
    operators,
    quantisation,
    versions,
    why_no_gpu,
)

ROOT = Path(__file__).parents[3]


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """A program of that name, which says what it is told to say."""

    def write(text, code=0):
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\necho '{text}'\nexit {code}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return write


def installed(monkeypatch, **found):
    def version(name):
        if name in found:
            return found[name]
        raise packages.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", version)
    return {one.what: one for one in versions()}


def test_the_versions_are_those_of_the_package():
    """They are written in two places, of which pip reads one."""
    project = (ROOT / "pyproject.toml").read_text()
    for name, (least, below, _) in PACKAGES.items():
        wanted = f"{name}>={least}" + (f",<{below}" if below else "")
        assert f'"{wanted}"' in project


@pytest.mark.parametrize(
    ("version", "wrong"),
    [("4.57.1", True), ("5.17.0", False), ("5.99.0.dev0", False), ("6.0.0.dev0", True)],
)
def test_a_transformers_that_is_too_old_or_too_new(monkeypatch, version, wrong):
    finding = installed(monkeypatch, transformers=version)["transformers"]
    assert finding.fails == wrong
    assert not wrong or finding.hint == "pip install 'transformers>=5.17,<6'"


def test_what_is_missing_is_a_note_where_a_run_can_do_without(monkeypatch):
    found = installed(monkeypatch, torch="2.13.0+cpu")
    assert not found["torch"].fix and found["accelerate"].fails
    assert found["deepspeed"].note and "needed for --deepspeed" in found["deepspeed"].fix


def test_torch_without_cuda(monkeypatch, nvidia_smi):
    nvidia_smi("CUDA Version: 12.6")
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    fix, hint = why_no_gpu()
    assert "built without CUDA" in fix and "--index-url" in hint


def test_torch_for_a_newer_cuda_than_the_driver_knows(monkeypatch, nvidia_smi):
    nvidia_smi("| NVIDIA-SMI 470.82  Driver Version: 470.82  CUDA Version: 11.4  |")
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    fix, hint = why_no_gpu()
    assert "built for CUDA 12.6, the driver knows 11.4" in fix and hint.endswith("/cu114")
    # minor versions of one major version go together
    nvidia_smi("| CUDA Version: 12.2 |")
    assert "the driver knows" not in why_no_gpu()[0]


def test_a_driver_that_does_not_answer_is_not_there_or_shows_no_gpu(
    monkeypatch, nvidia_smi, tmp_path
):
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "driver is not installed" in why_no_gpu()[0]
    nvidia_smi("NVIDIA-SMI has failed because it could not communicate", code=9)
    assert "does not answer" in why_no_gpu()[0]
    nvidia_smi("| CUDA Version: 12.8 |")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert "CUDA_VISIBLE_DEVICES is '7'" in why_no_gpu()[0]


@pytest.fixture
def bitsandbytes(tmp_path, monkeypatch):
    """The package's folder with libraries for CUDA 11.8 and 12.4."""
    for version in ("cuda118", "cuda124", "cpu"):
        (tmp_path / f"libbitsandbytes_{version}.so").write_text("")
    spec = ModuleSpec("bitsandbytes", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(packages, "find_spec", lambda name: spec)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv("BNB_CUDA_VERSION", raising=False)


@pytest.mark.parametrize(("built", "fits"), [("12.8", True), ("11.8", True), ("13.0", False)])
def test_bitsandbytes_for_another_cuda(bitsandbytes, monkeypatch, built, fits):
    monkeypatch.setattr(torch.version, "cuda", built)
    (finding,) = quantisation(use_cpu=False)
    assert finding.fails != fits and "for CUDA 11.8, 12.4" in finding.state
    assert fits or finding.hint == "pip install --upgrade bitsandbytes"


def test_bitsandbytes_told_to_take_a_library_that_is_not_there(bitsandbytes, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "12.4")
    monkeypatch.setenv("BNB_CUDA_VERSION", "121")
    (finding,) = quantisation(use_cpu=False)
    assert finding.fails and "BNB_CUDA_VERSION is 121" in finding.fix


def test_bitsandbytes_without_a_gpu_is_a_note(bitsandbytes, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (finding,) = quantisation(use_cpu=False)
    assert finding.note and "leave out --quantization" in finding.fix


@pytest.mark.parametrize("broken", [True, False])
def test_flash_attn_that_was_compiled_for_another_torch(tmp_path, monkeypatch, broken):
    symbol = "flash_attn_2_cuda.so: undefined symbol: _ZN3c105ErrorC2E"
    text = f"raise ImportError({symbol!r})" if broken else ""
    (tmp_path / "flash_attn.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "flash_attn", raising=False)
    found = list(flash_attention())
    monkeypatch.delitem(sys.modules, "flash_attn", raising=False)
    assert len(found) == broken
    assert not broken or ("undefined symbol" in found[0].state and "--no-deps" in found[0].hint)


@pytest.fixture
def deepspeed(tmp_path, monkeypatch):
    """Installed; programs are looked for in a folder, operators are compiled in another."""
    monkeypatch.setattr(packages, "find_spec", lambda name: ModuleSpec(name, None))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "extensions"))
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    for name in ("c++", "ninja"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    return tmp_path


def test_operators_without_a_compiler_or_ninja(deepspeed):
    assert list(operators(asked=True)) == []
    (deepspeed / "programs" / "ninja").unlink()
    (finding,) = operators(asked=True)
    assert finding.fails and finding.state == "no ninja" and finding.hint == "pip install ninja"
    (deepspeed / "programs" / "c++").unlink()
    (finding,) = operators(asked=False)
    assert finding.note and finding.state == "no c++ and no ninja"


def test_a_lock_that_a_killed_compilation_left(deepspeed):
    """All later runs would wait for it without a word."""
    folder = deepspeed / "extensions" / "py311_cpu" / "shm_comm"
    folder.mkdir(parents=True)
    (folder / "lock").write_text("")
    assert list(operators(asked=True)) == []  # it may be at work
    hours_ago = time.time() - 3 * 3600
    os.utime(folder / "lock", (hours_ago, hours_ago))
    (finding,) = operators(asked=True)
    assert finding.fails and "3.0 hours old" in finding.state
    assert finding.hint == f"rm {folder / 'lock'}"
