"""Whether a run had converged: one rule, told beside the table that it fills."""

import statistics
from collections.abc import Mapping

from adept_llm.report.runs import Run

SHARE = 0.02
LEAST_EVALUATIONS = 2
LEAST_LOSSES = 8  # two in each quarter
RULE = (
    "A run counts as converged where its validation loss was lowest before its last evaluation, or "
    "where the mean training loss of its last quarter differs from that of its third quarter by "
    f"less than {SHARE:.0%}. Empty: its log tells neither."
)


def converged(run: Run) -> bool | None:
    """Whether more steps would probably not have helped a run.

    The rule: the validation loss was lowest before the last evaluation (the untrained model counts
    as evaluated, so that a run that only got worse is not called unfinished), or the mean training
    loss of the last quarter of the logged steps differs from that of the third quarter by less than
    `SHARE` of the latter.

    Returns:
        None where the log holds too little for either half of the rule to say yes or no.
    """
    verdicts = [best_lies_behind(run.measured("loss")), is_flat(run.logged("loss"))]
    known = [verdict for verdict in verdicts if verdict is not None]
    return any(known) if known else None


def best_lies_behind(losses: Mapping[int, float]) -> bool | None:
    """Whether the lowest of some losses by step is not the last; None below two evaluations."""
    if len(losses) < LEAST_EVALUATIONS:
        return None
    return min(losses.values()) < losses[max(losses)]


def is_flat(losses: Mapping[int, float]) -> bool | None:
    """Whether the last quarter's mean is near the third's; None for too few losses."""
    if len(losses) < LEAST_LOSSES:
        return None
    values = [losses[step] for step in sorted(losses)]
    half, end = len(values) // 2, len(values) * 3 // 4
    third, last = statistics.fmean(values[half:end]), statistics.fmean(values[end:])
    return abs(last - third) < SHARE * abs(third)


def end_loss(run: Run) -> float | None:
    """Mean training loss of the last tenth of the logged steps; None without a log."""
    losses = run.logged("loss")
    if not losses:
        return None
    values = [losses[step] for step in sorted(losses)]
    return statistics.fmean(values[-max(1, len(values) // 10) :])
