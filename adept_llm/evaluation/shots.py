"""Solved rows in front of each text: what a base answers from examples alone, without training."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch

from adept_llm.data import Encoder, Example
from adept_llm.errors import InputError
from adept_llm.evaluation.answers import AnswerMeasure


def shot_ids(encoder: Encoder, examples: Sequence[Example], shots: int, seed: int) -> list[int]:
    """Token ids of solved training rows, an empty line behind each; classes take turns.

    Args:
        encoder: With the template and the length of one row.
        examples: The training rows; a row that does not fit leaves its place to the next.
        shots: How many at most.
        seed: Of their order.

    Raises:
        InputError: where no row fits max_length.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(examples), generator=generator).tolist()
    waiting: dict[str, list[int]] = {}  # places in that order by class, the first one last
    for place in reversed(range(len(order))):
        one = examples[order[place]]
        waiting.setdefault(one.target if one.labels else "", []).append(place)
    gap = encoder.tokenizer("\n\n", add_special_tokens=False).input_ids
    taken, found = Counter[str](), list[int]()
    while waiting and taken.total() < shots:
        rarest = min(waiting, key=lambda name: (taken[name], waiting[name][-1]))
        solved = encoder.encode(examples[order[waiting[rarest].pop()]])
        if not waiting[rarest]:
            del waiting[rarest]
        if solved:
            found = _behind_ids(found, solved.prompt_ids, encoder)
            found += [*solved.target_ids[:-1], *gap]
            taken[rarest] += 1
    if not found:
        raise InputError("shots: no training row fits max_length; raise it")
    return found


def behind(measure: AnswerMeasure, shots: list[int]) -> AnswerMeasure:
    """A measure whose texts stand behind solved rows, `shot_ids`."""
    windows = tuple(
        [
            replace(one, prompt_ids=_behind_ids(shots, one.prompt_ids, measure.encoder))
            for one in each
        ]
        for each in measure.windows
    )
    return replace(measure, windows=windows)


def _behind_ids(shots: list[int], text: list[int], encoder: Encoder) -> list[int]:
    """A text behind others: the tokenizer's BOS stands in front of the first alone."""
    bos = encoder.tokenizer("").input_ids[:1]
    written = bos == [encoder.tokenizer.bos_token_id] == text[:1]
    return shots + text[1:] if shots and written else shots + text
