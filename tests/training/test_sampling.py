"""Sampling: every example once an epoch, the same global batches for any ranks (INV 6, INV 8)."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adept_llm.packing import Batcher
from adept_llm.training.sampling import (
    CollateStandIns,
    GlobalBatches,
    Shares,
    StandIns,
    training_loader,
)
from tests.builders import make_examples

LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=40)
SPLITS = (st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))


def batches(lengths, shares, seed=3, epoch=0, bucket=0):
    lengths = [1] * lengths if isinstance(lengths, int) else lengths
    sampler = GlobalBatches(lengths, shares, seed, lambda: epoch, bucket)
    found = list(sampler)
    assert len(found) == len(sampler)
    assert all(len(pieces) == 1 for pieces in found)
    return [piece for (piece,) in found]


def row(value):
    return SimpleNamespace(prompt_ids=[1], target_ids=[value])


def hands_of(ranks, accumulation):
    """Micro-batches of each step by (turn, rank)."""
    return [
        [rank[step + turn] for turn in range(accumulation) for rank in ranks]
        for step in range(0, len(ranks[0]), accumulation)
    ]


@given(LENGTHS, *SPLITS)
def test_hands_hold_like_numbers_of_tokens(lengths, batch_size, accumulation, world):
    """The fullest has at most one example more than the emptiest; a hand is idle in need only."""
    batch = list(range(len(lengths)))[: batch_size * accumulation * world]
    dealt = Shares(batch_size, accumulation, world).deal(batch, lengths)
    assert [len(turn) for turn in dealt] == [world] * accumulation
    hands = [hand for turn in dealt for hand in turn]
    assert sorted(index for hand in hands for index in hand) == batch
    assert all(hand == sorted(hand) for hand in hands)
    tokens = [sum(lengths[index] for index in hand) for hand in hands]
    assert max(tokens) - min(tokens) <= max([0, *(lengths[index] for index in batch)])
    assert tokens == sorted(tokens, reverse=True)  # of one turn: neighbours
    assert sum(not hand for hand in hands) == max(0, len(hands) - len(batch))


def test_examples_of_one_length_are_dealt_evenly():
    assert Shares(2, 1, 2).deal([7, 8, 9], [5] * 10) == [[[7, 9], [8]]]


@given(LENGTHS, *SPLITS, st.integers(0, 3), st.integers(0, 50))
def test_all_ranks_together_see_the_same_global_batches(
    lengths, batch_size, accumulation, world, at, bucket
):
    total = batch_size * accumulation * world
    alone = batches(lengths, Shares(total), epoch=at, bucket=bucket)
    assert sorted(index for batch in alone for index in batch) == list(range(len(lengths)))
    ranks = [
        batches(lengths, Shares(batch_size, accumulation, world, rank), epoch=at, bucket=bucket)
        for rank in range(world)
    ]
    for hands, whole in zip(hands_of(ranks, accumulation), alone, strict=True):
        assert all(hands)
        seen = [index for hand in hands for index in hand if index >= 0]
        assert sorted(seen) == sorted(whole)
        # a rank without examples computes one of this batch without its targets
        idle = [hand for hand in hands if hand[0] < 0]
        assert idle == [[-1 - whole[0]]] * max(0, accumulation * world - len(whole))


@given(LENGTHS, st.integers(1, 50))
def test_buckets_are_sorted_and_nothing_else_moves(lengths, bucket):
    """Each holds what the plain order has in its place."""
    size = len(lengths)
    (plain,) = batches(lengths, Shares(size))
    (order,) = batches(lengths, Shares(size), bucket=bucket)
    for start in range(0, size, bucket):
        drawn, found = plain[start : start + bucket], order[start : start + bucket]
        assert sorted(drawn) == sorted(found)
        sizes = [lengths[index] for index in found]
        assert sizes == sorted(sizes, reverse=True)
        # of the same length: in the order they were drawn in
        assert found == [n for size in sorted({*sizes})[::-1] for n in drawn if lengths[n] == size]


def test_only_the_last_batch_of_an_epoch_is_short():
    assert [len(batch) for batch in batches(10, Shares(4))] == [4, 4, 2]
    assert [len(batch) for batch in batches(8, Shares(4))] == [4, 4]
    assert batches(0, Shares(4)) == []


def test_the_order_depends_on_seed_and_epoch_alone():
    def order(seed, epoch):
        torch.rand(3)  # the global generator has no say
        return batches(30, Shares(30), seed, epoch)[0]

    orders = {(seed, epoch): tuple(order(seed, epoch)) for seed in range(4) for epoch in range(4)}
    assert len(set(orders.values())) == 16
    assert all(tuple(order(*key)) == value for key, value in orders.items())
    before = torch.get_rng_state()
    batches(30, Shares(30))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_order_of_earlier_versions_holds():
    """Or a run resumed after an update would see some examples twice and others never."""
    assert batches(8, Shares(8), seed=3, epoch=2) == [[2, 3, 5, 7, 4, 0, 6, 1]]


def test_the_epoch_is_asked_when_iteration_starts():
    """Trainer makes the sampler once and knows the epoch later."""
    now = [0]
    sampler = GlobalBatches([1] * 30, Shares(30), 0, lambda: now[0])
    first = list(sampler)
    now[0] = 1
    assert list(sampler) == [batches(30, Shares(30), 0, 1)] != first


def test_a_stand_in_is_an_example_without_targets():
    items = StandIns(["a", "b", "c"])
    assert len(items) == 3
    assert items[[0, 1, 2]] == [("a", True), ("b", True), ("c", True)]
    assert [items[[-1 - i]] for i in range(3)] == [[("a", False)], [("b", False)], [("c", False)]]


def test_what_stands_in_has_no_labels_and_counts_for_nothing():
    collate = CollateStandIns(Batcher((7, 8), packed=False))
    one, other = make_examples([(2, 1), (3, 2)])
    share = collate([[(one, True), (other, True)], [(other, False)]])
    kept, blank = share["pieces"]
    assert kept["labels"].tolist() == [[-100, *one.target_ids], other.target_ids]
    assert kept["num_text_tokens"] == 2 + 4 and kept["example_ids"] == [one.id, other.id]
    assert blank["labels"].tolist() == [[-100, -100]]
    assert blank["num_text_tokens"] == 0 and blank["example_ids"] == []
    assert blank["inputs"]["input_ids"].shape == (1, 2 + 4)
    # by these Trainer counts the targets of all pieces
    assert sorted(share["labels"].tolist()) == sorted(
        [-100] * 3 + one.target_ids + other.target_ids
    )


@pytest.mark.parametrize("size", [13, 16])
def test_a_loader_goes_on_where_another_stopped(size):
    """Trainer skips the micro-batches of the steps that a checkpoint has behind it."""
    examples = [row(10 * i) for i in range(size)]

    def load(rank):
        def collate(rows):
            return {"labels": torch.tensor([one.target_ids[0] for one in rows])}

        loader = training_loader(examples, collate, Shares(2, 2, 2, rank), 7, lambda: 1)
        assert len(loader) == 4
        return [batch["labels"].tolist() for batch in loader]

    ranks = [load(0), load(1)]
    resumed = [load(0)[2:], load(1)[2:]]
    assert [rank[2:] for rank in ranks] == resumed
    seen = [value for rank in ranks for batch in rank for value in batch if value != -100]
    assert sorted(seen) == [10 * i for i in range(size)]


def test_workers_and_pinned_memory_are_passed_on():
    def load(*more):
        return training_loader([row(1), row(2)], SimpleNamespace, Shares(1), 0, lambda: 0, *more)

    plain, asked = load(), load(2, True)
    assert (plain.num_workers, plain.pin_memory) == (0, False)
    assert (asked.num_workers, asked.pin_memory) == (2, True)


def test_stored_rows_make_the_batches_of_those_in_memory(monkeypatch):
    """To the last label, stand-ins included, and read once a batch."""
    import pyarrow as pa
    from datasets import Dataset

    from adept_llm.data.stored import About, Stored, columns, token_counts
    from adept_llm.packing import Batcher
    from tests.builders import make_examples

    rows = make_examples([(2 + n % 5, 1 + n % 3) for n in range(25)])
    about: About = None  # type: ignore[assignment]
    stored = Stored(Dataset(pa.Table.from_batches([columns(rows)])), about)
    assert list(token_counts(stored)) == token_counts(rows)
    asked = []
    take = Stored.take
    monkeypatch.setattr(Stored, "take", lambda self, n: asked.append(list(n)) or take(self, n))
    for rank in range(2):
        shares = Shares(4, 2, 2, rank)
        options = (Batcher((90, 91), packed=True), shares, 3, lambda: 1)
        of_memory, of_store = (training_loader(e, *options, bucket=8) for e in (rows, stored))
        asked.clear()
        for whole, stored_whole in zip(of_memory, of_store, strict=True):
            (expected,), (found,) = whole["pieces"], stored_whole["pieces"]
            assert found["example_ids"] == expected["example_ids"]
            assert torch.equal(found["labels"], expected["labels"])
            for name in ("input_ids", "position_ids", "logits_to_keep"):
                assert torch.equal(found["inputs"][name], expected["inputs"][name])
        assert len(asked) == len(of_store) and max(map(len, asked)) > 1
