"""Reporters of Trainer's --report_to by name.

Read in transformers 5.17.0 and 5.23.0. Trainer makes them as `start_reporters` does; were the
function gone, a missing package would be told by a traceback after the weights are read.
"""

from collections.abc import Sequence

from transformers.integrations import get_reporting_integration_callbacks


def start_reporters(names: Sequence[str]) -> None:
    """Make reporters and throw them away: they do nothing before a training begins.

    Raises:
        RuntimeError: for one whose package is missing.
        ValueError: for a name that is unknown.
    """
    for kind in get_reporting_integration_callbacks(list(names)):
        kind()
