"""Several ranks share an evaluation, and all end with the numbers of one process."""

import json
import subprocess
import sys
from pathlib import Path

from adept_llm.evaluation import ranks

ROOT = Path(__file__).parents[2]


def measured(folder, *launcher):
    folder.mkdir()
    command = [sys.executable, *launcher, "-m", "tests.evaluation.ranks", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    return [json.loads(path.read_text()) for path in sorted(folder.iterdir())]


def test_two_ranks_measure_what_one_process_does_with_half_the_passes(tmp_path):
    (alone,) = measured(tmp_path / "1")
    both = measured(tmp_path / "2", "-m", "torch.distributed.run", "--standalone",
                    "--nproc_per_node", "2")  # fmt: skip
    passes = [one.pop("passes") for one in both]
    whole = alone.pop("passes")
    assert both == [alone, alone]
    # equally many on each rank, or sharded weights would wait for ever; P's own pass is not shared
    assert passes[0] == passes[1] < 0.62 * whole


def test_each_batch_goes_to_one_rank_and_all_make_equally_many(monkeypatch):
    monkeypatch.setattr(ranks.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(ranks.dist, "get_world_size", lambda: 3)
    order = list(range(20, 0, -1))
    found = []
    for rank in range(3):
        monkeypatch.setattr(ranks.dist, "get_rank", lambda rank=rank: rank)
        found.append(ranks.batches(order, 3))
    # 7 batches of 3; the two that are wanting are the first once more
    cut = [order[n : n + 3] for n in range(0, 20, 3)]
    assert found == [[cut[0], cut[5], cut[6]], [cut[1], cut[4], cut[0]], [cut[2], cut[3], cut[0]]]


def test_batches_that_grow_are_about_as_much_work_on_each_rank(monkeypatch):
    """Else the last rank would have the longer texts each time: they are sorted."""
    monkeypatch.setattr(ranks.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(ranks.dist, "get_world_size", lambda: 2)
    work = []
    for rank in range(2):
        monkeypatch.setattr(ranks.dist, "get_rank", lambda rank=rank: rank)
        work.append(sum(sum(batch) for batch in ranks.batches(range(16), 2)))
    assert work[0] == work[1]
