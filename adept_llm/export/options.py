"""What is chosen for an export beside the run and the format."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ExportOptions:
    """The choices of single formats; each reads its own.

    Attributes:
        folder: Where the result will lie when all of it is written.
        extended_base: One that there is already (lora).
        llama_cpp: A checkout of llama.cpp (gguf).
    """

    folder: Path
    extended_base: Path | None = None
    llama_cpp: Path | None = None
