"""One cluster for all tests of this folder, and what they ask of it."""

import os
import re
import sys
import time
from pathlib import Path

import pytest

from tests.slurm.cluster import ask, cluster, why_not

ROOT = Path(__file__).parents[2]
ENDS = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")


class Slurm:
    """The cluster as a user sees it.

    Attributes:
        root: folder of the cluster's own files and of the tests' runs.
        environment: what sbatch and its sisters are started with.
    """

    def __init__(self, root, environment):
        self.root, self.environment = root, environment

    def submit(self, *words, cwd=ROOT, **variables):
        """The job's id."""
        environment = {**self.environment, **variables}
        return ask(["sbatch", "--parsable", *map(str, words)], environment, cwd=cwd).split(";")[0]

    def ask(self, *command):
        return ask([*map(str, command)], self.environment)

    def field(self, job, name):
        """A field of `scontrol show job`."""
        found = re.search(rf"\b{name}=(\S+)", self.ask("scontrol", "show", "job", job))
        return found.group(1) if found else None

    def wait_for_end(self, job, state="COMPLETED"):
        wait_until(lambda: self.field(job, "JobState") in ENDS, 300)
        assert self.field(job, "JobState") == state


def wait_until(condition, seconds=180):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    if why_not():
        pytest.skip(f"no Slurm: {why_not()}")
    root = tmp_path_factory.mktemp("slurm")
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with cluster(root) as environment:
        given = {
            "PYTHON": sys.executable, "PYTHONPATH": path, "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": "lo", "DS_ACCELERATOR": "cpu",
        }  # fmt: skip
        yield Slurm(root, {**environment, **given})
