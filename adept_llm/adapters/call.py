"""What hooks tell an embedding layer about one call of its model, and how they read the call."""

import inspect
import threading
from typing import Any


class CallState:
    """Facts of the call that is under way; threads that call one model at once have each its own.

    A copy of the layer, or one that is read back, begins with none.
    """

    def __init__(self) -> None:
        self.of_thread = threading.local()

    @property
    def told(self) -> dict[str, Any]:
        """Name -> fact; whoever puts one there takes it away when the call is over."""
        # torch.compile follows this dict, and not attributes that are set
        return self.of_thread.__dict__

    def __reduce__(self) -> tuple[type["CallState"], tuple[()]]:
        return CallState, ()


def named(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """A call's arguments by name, those that were given by place too."""
    if not args:
        return kwargs
    names = inspect.signature(model.forward).parameters
    return {**dict(zip(names, args, strict=False)), **kwargs}
