"""Work in processes of its own: results in order, failures told."""

import math
import operator
import os
from pathlib import Path

import pytest

from adept_llm.data import processes
from adept_llm.data.processes import spread
from adept_llm.data.rows import check_file
from adept_llm.errors import InputError


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1})
    monkeypatch.setattr(processes, "LEAST_TASKS", 2)


def test_results_come_in_the_order_of_the_tasks():
    assert list(spread(operator.neg, range(7))) == [-n for n in range(7)]


def test_other_processes_do_the_work():
    """One for each core; few tasks are done at once, in this one."""
    at_work = set(spread(_where, range(8)))
    assert len(at_work) == 2 and os.getpid() not in at_work
    assert set(spread(_where, range(3))) == {os.getpid()}


def test_the_first_failure_is_told():
    tasks = [Path(__file__).with_suffix(".csv")] * 2 + [Path("b.txt"), Path("c.txt")]
    with pytest.raises(InputError, match="there is no such file"):
        list(spread(check_file, tasks))
    with pytest.raises(RuntimeError, match="(?s)Traceback.*math domain error"):
        list(spread(math.sqrt, [1.0, 4.0, -1.0, 9.0]))


def test_a_process_that_is_killed_is_told():
    with pytest.raises(InputError, match="ended with code 3"):
        list(spread(os._exit, [3] * 4))


def test_none_outlives_a_reader_that_stops_early():
    results = spread(_where, range(400))
    first, second = next(results), next(results)
    results.close()
    for process in (first, second):
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def _where(task):
    return os.getpid()
