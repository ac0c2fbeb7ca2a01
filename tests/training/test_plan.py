"""The plan of a dry run against the batches that a run's own loader makes."""

import pytest

from adept_llm.packing import Batcher
from adept_llm.training.pieces import Pieces
from adept_llm.training.plan import Plan
from adept_llm.training.sampling import Shares, training_loader
from tests.builders import make_examples

M = 5
LENGTHS = [(3 + n % 7, 1 + n % 3) for n in range(23)]


def loaded(shares, packed, bucket, most):
    """Each step's pieces as the ranks would feed them to a model, and how many one batch has."""
    batcher = Batcher(tuple(range(100, 100 + M)), packed)
    steps: dict[int, list[int]] = {}
    numbers = []
    for rank in range(shares.world_size):
        mine = Shares(shares.batch_size, shares.accumulation, shares.world_size, rank)
        loader = training_loader(
            make_examples(LENGTHS), batcher, mine, 3, lambda: 0, bucket=bucket,
            pieces=Pieces(most, M, packed),
        )  # fmt: skip
        numbers.append([])
        for n, share in enumerate(loader):
            sizes = [piece["inputs"]["input_ids"].numel() for piece in share["pieces"]]
            steps.setdefault(n // shares.accumulation, []).extend(sizes)
            numbers[-1].append(len(sizes))
    assert all(one == numbers[0] for one in numbers)
    return list(steps.values()), numbers[0]


@pytest.mark.parametrize("most", [None, 20])
@pytest.mark.parametrize("bucket", [0, 8])
@pytest.mark.parametrize("shares", [Shares(4), Shares(2, 2), Shares(2, 2, 3), Shares(8, 1, 2)])
def test_sizes_are_those_of_the_loaders_batches(shares, bucket, most):
    plan = Plan.of(make_examples(LENGTHS), shares, 1000, M, 3, bucket, most)
    for packed in (True, False):
        steps, numbers = loaded(shares, packed, bucket, most)
        sizes = [one.packed if packed else one.padded for one in plan.looked_at]
        assert sizes == [sum(each) for each in steps] and plan.epoch == len(steps)
        largest = plan.largest.packed if packed else plan.largest.padded
        assert largest == max(max(each) for each in steps) <= (most or 1000)
        assert plan.tokens(packed) == sum(sizes) / len(sizes)
        assert plan.number_of_pieces(packed) == numbers
        assert max(numbers) == 1 or most is not None
    if most:
        assert max(plan.number_of_pieces(packed=False)) > 1
    assert 0 < plan.saved < 1
    assert plan.rows_a_step == min(shares.global_batch, len(LENGTHS))


def test_a_short_run_is_looked_at_no_further_than_it_goes():
    plan = Plan.of(make_examples(LENGTHS), Shares(4), 2, M, 3, 0)
    assert len(plan.looked_at) == plan.steps == 2 and plan.epoch == 6


def test_percentiles():
    plan = Plan.of(make_examples([(n, 1) for n in range(1, 101)]), Shares(4), 1, M, 0, 0)
    assert plan.lengths == tuple(range(2, 102))
    assert [plan.percentile(share) for share in (5, 50, 95)] == [7, 52, 96]
    assert Plan.of(make_examples([(3, 1)]), Shares(4), 1, M, 0, 0).percentile(5) == 4
