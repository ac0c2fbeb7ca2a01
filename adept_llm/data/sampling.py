"""Random samples of examples: some of them, or a few of each class."""

from collections import defaultdict
from collections.abc import Sequence
from random import Random

from adept_llm.data.example import Example
from adept_llm.errors import InputError


def sample(total: int, limit: int | None, seed: int) -> Sequence[int]:
    """A random sample of at most `limit` of so many rows, in their order.

    Raises:
        InputError: The limit is below 1.
    """
    if limit is not None and limit < 1:
        raise InputError(f"the limit of rows must be at least 1, not {limit}")
    if limit is None or limit >= total:
        return range(total)
    return sorted(Random(seed).sample(range(total), limit))


def few_shot(examples: Sequence[Example], shots: int, seed: int) -> list[Example]:
    """Draw a small training set that is balanced by class.

    Each class gives shots // classes examples, and what is missing to `shots` is drawn from all.
    Where there are more classes than shots (STS-B's scores), neighbouring ones count as one.

    Args:
        examples: All training examples.
        shots: How many to draw in all.
        seed: Fixes the draw.

    Returns:
        The drawn examples, in their order.

    Raises:
        InputError: There are fewer examples than shots, or fewer than the share of a class.
    """
    if not 1 <= shots <= len(examples):
        raise InputError(f"k_shot: {shots} examples of {len(examples)}; give 1 to {len(examples)}")
    order = Random(seed).sample(range(len(examples)), len(examples))
    by_class = defaultdict(list)
    classes = max(1, min(shots, len(examples[0].labels)))
    for index in order:
        one = examples[index]
        place = one.labels.index(one.target) * classes // len(one.labels) if one.labels else 0
        by_class[place].append(index)
    for place in range(classes):
        if len(by_class[place]) < shots // classes:
            labels = examples[0].labels
            words = [word for n, word in enumerate(labels) if n * classes // len(labels) == place]
            raise InputError(
                f"k_shot: {shots} examples of {classes} classes need {shots // classes} of each, "
                f"and the rows have {len(by_class[place])} of {' and '.join(map(repr, words))}; "
                "lower --k_shot"
            )
    chosen = {index for place in by_class for index in by_class[place][: shots // classes]}
    rest = [index for index in order if index not in chosen]
    return [examples[index] for index in sorted([*chosen, *rest[: shots - len(chosen)]])]
