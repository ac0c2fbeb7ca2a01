"""Two nodes on one machine: network namespaces joined by a cable whose rate can be set.

Needs root, and iproute2's `ip` and `tc`. Both ends are shaped by a token bucket (tbf), so the rate
holds for each direction by itself.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NODES = tuple(f"adept-{os.getpid()}-{letter}" for letter in "ab")
ADDRESSES = ("10.213.77.1", "10.213.77.2")
DEVICE = "cable"
UNLIMITED = 0


@contextmanager
def cabled_nodes() -> Iterator[None]:
    """Two namespaces that see each other through DEVICE, and nothing else.

    Raises:
        SystemExit: where the machine does not allow it.
    """
    try:
        _lay_cable()
        yield
    finally:
        for node in NODES:
            with suppress(FileNotFoundError):  # said already
                subprocess.run(["ip", "netns", "del", node], capture_output=True)


def inside(node: int, command: list[str]) -> list[str]:
    """A command line that runs on a node."""
    return ["ip", "netns", "exec", NODES[node], *command]


def throttle(megabits: int) -> None:
    """Shape what leaves the node that this process runs on.

    Args:
        megabits: a second; UNLIMITED takes the shaping away.
    """
    subprocess.run(["tc", "qdisc", "del", "dev", DEVICE, "root"], capture_output=True)
    if megabits != UNLIMITED:
        rate = ["rate", f"{megabits}mbit", "burst", "256kb", "latency", "50ms"]
        _run("tc", "qdisc", "add", "dev", DEVICE, "root", "tbf", *rate)


def received() -> int:
    """Bytes that came through the cable to this process's node, headers counted."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, counts = line.partition(":")
        if name.strip() == DEVICE:
            return int(counts.split()[0])
    raise SystemExit(f"{DEVICE}: not in this network namespace")


def _lay_cable() -> None:
    try:
        for node in NODES:
            _run("ip", "netns", "add", node)
        _run("ip", "link", "add", DEVICE, "netns", NODES[0], "type", "veth",
             "peer", "name", DEVICE, "netns", NODES[1])  # fmt: skip
        for node, address in zip(NODES, ADDRESSES, strict=True):
            _run("ip", "-n", node, "addr", "add", f"{address}/24", "dev", DEVICE)
            _run("ip", "-n", node, "link", "set", DEVICE, "up")
            _run("ip", "-n", node, "link", "set", "lo", "up")
    except (OSError, subprocess.CalledProcessError) as error:
        told = getattr(error, "stderr", None) or error
        raise SystemExit(f"network namespaces: {told}; root and iproute2 are needed") from error


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
