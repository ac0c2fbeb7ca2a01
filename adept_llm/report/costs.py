"""What a group took: parameters, steps, speed, time, memory, and where its training ended."""

from collections.abc import Callable
from dataclasses import dataclass

from adept_llm.report.convergence import converged, end_loss
from adept_llm.report.groups import LOSS, Group, Spread


@dataclass(frozen=True)
class Column:
    """A number of a group.

    Attributes:
        title: Above it.
        name: In CSV.
        of: Its spread over the seeds; None where no run tells it.
        form: How a mean is written.
    """

    title: str
    name: str
    of: Callable[[Group], Spread | None]
    form: str


def _result(name: str) -> Callable[[Group], Spread | None]:
    return lambda group: group.result(name)


COLUMNS = (
    Column("trained parameters", "trained_parameters", _result("trained_parameters"), ",.0f"),
    Column("steps", "steps", _result("steps"), ",.0f"),
    Column("examples/s", "examples_per_second", _result("examples_per_second"), ",.1f"),
    Column("seconds", "seconds", _result("seconds"), ",.0f"),
    Column("peak memory, GB", "peak_memory_gb", _result("peak_memory_gb"), ",.2f"),
    Column("training loss at the end", "end_loss", lambda g: g.spread(end_loss), ".3f"),
    Column("validation loss", "validation_loss", lambda g: g.metric(LOSS, "validation"), ".3f"),
)


def convergence(group: Group) -> tuple[int, int]:
    """How many runs had converged, of how many that tell."""
    known = [verdict for run in group.runs if (verdict := converged(run)) is not None]
    return sum(known), len(known)
