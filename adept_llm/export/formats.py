"""The formats that a run is exported in. A new one is a function in its own file, and a line."""

from collections.abc import Callable
from pathlib import Path

from adept_llm.export.gguf import write_gguf
from adept_llm.export.hf import write_hf
from adept_llm.export.lora import write_lora
from adept_llm.export.options import ExportOptions
from adept_llm.export.peft import write_peft
from adept_llm.tuned import Tuned

Write = Callable[[Tuned, ExportOptions, Path], None]
"""Checks what it is given, then writes into an empty folder, model card and all."""

FORMATS: dict[str, Write] = {
    "hf": write_hf,
    "gguf": write_gguf,
    "lora": write_lora,
    "peft": write_peft,
}
