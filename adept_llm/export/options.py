"""What is chosen for an export beside the run and the format."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ExportOptions:
    """The choices of single formats; each reads its own."""
