"""What a figure depends on: date, machine, versions, and the code that was measured."""

import importlib.metadata
import platform
import time
from pathlib import Path
from typing import Any

import torch

from adept_llm.record import git_revision, versions


def facts() -> dict[str, Any]:
    """Date, hardware, versions of packages, and the git revision; '-dirty' marks changes to it."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "hardware": hardware(),
        "versions": versions() | _peft(),
        "revision": git_revision() or "unknown",
    }


def hardware() -> dict[str, Any]:
    """The processor and the threads in use, and each GPU."""
    found: dict[str, Any] = {
        "cpu": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        found["gpus"] = [torch.cuda.get_device_name(n) for n in range(count)]
    return found


def _peft() -> dict[str, str]:
    """Its version where it is installed; only some benchmarks compare with it."""
    try:
        return {"peft": importlib.metadata.version("peft")}
    except importlib.metadata.PackageNotFoundError:
        return {}


def _processor() -> str:
    """Linux's name for it, or the machine's kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
