"""One line of doctor."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One line.

    Attributes:
        what: the thing.
        state: what was found.
        fix: what to do; empty where all is well.
        note: whether a run can do without.
        hint: a command that does it, for --fix_hints.
    """

    what: str
    state: str
    fix: str = ""
    note: bool = False
    hint: str = ""

    @property
    def fails(self) -> bool:
        """Whether a run cannot do without."""
        return bool(self.fix) and not self.note

    def __str__(self) -> str:
        """Say it."""
        mark = "ok  " if not self.fix else "note" if self.note else "FAIL"
        return f"{mark}  {self.what}: {self.state}" + (f"; {self.fix}" if self.fix else "")

    def with_hint(self) -> str:
        """Say it, and the command in a line of its own."""
        return f"{self}\n      $ {self.hint}" if self.fix and self.hint else str(self)
