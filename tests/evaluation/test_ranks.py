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
    assert [len(each) for each in found] == [3, 3, 3]
    dealt = [batch for each in zip(*found, strict=True) for batch in each]
    # 7 batches; the two that are wanting are the first once more
    assert [i for batch in dealt[:7] for i in batch] == order
    assert dealt[7:] == [order[:3]] * 2
