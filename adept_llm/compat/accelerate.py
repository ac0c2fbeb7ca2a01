"""What accelerate keeps once for a process. Read in accelerate 1.15.0 (state.py)."""

from typing import Any

from accelerate.state import AcceleratorState, GradientState, PartialState

KINDS = (PartialState, AcceleratorState, GradientState)


def process_state() -> list[dict[str, Any]]:
    """A copy of it: whether gradients are added up, which loader is read, precision, device."""
    return [dict(kind._shared_state) for kind in KINDS]


def set_process_state(found: list[dict[str, Any]]) -> None:
    """Inverse of `process_state`.

    All objects of a kind have one dictionary, `_shared_state`. It is changed in place, since they
    hold it. If it is renamed, this fails at once; if it is left alone, runs that take turns skip
    each other's optimizer steps where one accumulates gradients.
    """
    for kind, state in zip(KINDS, found, strict=True):
        kind._shared_state.clear()
        kind._shared_state.update(state)
