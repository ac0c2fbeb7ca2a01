"""What was measured beside what the model says: tables in Markdown, as docs/scaling.md has them.

python -m benchmarks.scaling.table [FILE]
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.scaling.model import Cluster, Plan, step_seconds, weight_seconds

RESULT = Path(__file__).parents[1] / "results" / "scaling.json"
SHARDED = ("ZeRO-3", "FSDP2")


def link_rate(found: dict[str, Any], megabits: int) -> float:
    """Bytes a second of a gather by itself; the best, since other work can only slow it."""
    rows = [row for row in found["timed"] if row["megabits"] == megabits and row["ranks"] == 2]
    return max(row.get("gather_bytes_per_second") or 0.0 for row in rows)


def modelled(found: dict[str, Any], row: dict[str, Any]) -> tuple[float, float]:
    """Seconds of a step with gathers behind the computation, and one after the other."""
    compute = row["computing_seconds"]
    rate = link_rate(found, row["megabits"])
    cluster = Cluster(1, float("inf"), row["ranks"], rate)
    plan = Plan(row["variant"], sharded=row["variant"] in SHARDED)
    weights = weight_seconds(plan, cluster, found["base"]["parameters"])
    return step_seconds(compute, weights), compute + weights


def rate_of(row: dict[str, Any]) -> str:
    """Of the link, in words."""
    megabits = row["megabits"]
    return f"{megabits:,} Mbit/s" if megabits else "its own rate"


def timed(found: dict[str, Any]) -> Iterator[str]:
    """Seconds of a step, measured and modelled, and examples a second of all ranks."""
    yield "| base | link | examples/s | measured | computing | modelled | off | no overlap |"
    yield "| --- " * 8 + "|"
    for row in found["timed"]:
        examples = row["ranks"] * found["texts"] / row["seconds"]
        cells = [f"{examples:.1f}", f"{row['seconds']:.2f} s"]
        if "received_per_step" in row:
            overlapped, summed = modelled(found, row)
            off = f"{100 * (row['seconds'] / overlapped - 1):+.0f} %"
            cells += [
                f"{row['computing_seconds']:.2f} s",
                f"{overlapped:.2f} s",
                off,
                f"{summed:.2f} s",
            ]
            yield f"| {row['variant']} | {rate_of(row)} | {' | '.join(cells)} |"
        else:
            yield f"| {row['variant']} | none | {' | '.join(cells)} | | | | |"


def counted(found: dict[str, Any]) -> Iterator[str]:
    """Bytes that a node receives in a step, and how many gathers of all weights they are."""
    yield "| base | ranks on two nodes | checkpointing | received a step | gathers |"
    yield "| --- " * 5 + "|"
    size = 2 * found["base"]["parameters"]
    unlimited = [r for r in found["timed"] if "received_per_step" in r and not r["megabits"]]
    for row in [*unlimited, *found["counted"]]:
        gathers = row["received_per_step"] / (size * (row["ranks"] - 1) / row["ranks"])
        yield (
            f"| {row['variant']} | {row['ranks']} | {'yes' if row['checkpointing'] else 'no'} | "
            f"{row['received_per_step'] / 1e6:.1f} MB | {gathers:.2f} |"
        )


def in_words(found: dict[str, Any]) -> Iterator[str]:
    """How far off the model is, and FSDP2 beside ZeRO-3."""
    rows = [row for row in found["timed"] if "received_per_step" in row]
    for variant in dict.fromkeys(row["variant"] for row in rows):
        of_it = [row for row in rows if row["variant"] == variant]
        off = [100 * (row["seconds"] / modelled(found, row)[0] - 1) for row in of_it]
        yield f"- {variant}: measured {min(off):+.0f} to {max(off):+.0f} % off the model."
    seconds = {(row["variant"], row["megabits"]): row["seconds"] for row in rows}
    for variant, megabits in seconds:
        if variant == "FSDP2":
            times = seconds[variant, megabits] / seconds["ZeRO-3", megabits]
            link = rate_of({"megabits": megabits})
            yield f"- FSDP2 with the link at {link}: {times:.2f} times ZeRO-3's step."


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULT
    result = json.loads(path.read_text())
    print("\n".join([*timed(result), "", *counted(result), "", *in_words(result)]))
