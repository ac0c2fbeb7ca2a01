"""The embedded demo: a toy world, an instruction task in it and a tiny Llama pretrained on it."""

from pathlib import Path

MODEL = Path(__file__).parent / "model"
