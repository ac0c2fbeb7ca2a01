"""The head on the last columns of a batch: a slice of the hidden states, whose rows lie apart."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
def rows_side_by_side(model: "PreTrainedModel") -> Iterator[None]:
    """Let the head read a copy of such a slice, in which rows lie side by side.

    Without gradients torch folds no strided [B, n, d] for a product with a matrix; it multiplies
    batch by batch and copies the head [V, d] for each (read in torch 2.13, should_fold of
    LinearAlgebra.cpp). On CPUs that took most of the time of short answers.
    """
    hook = model.get_output_embeddings().register_forward_pre_hook(_copy)
    try:
        yield
    finally:
        hook.remove()


def _copy(head: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return (args[0].contiguous(), *args[1:])
