"""Positions, ancestors and rows of a packed layout, against a walk through its tree."""

from itertools import accumulate

import pytest
import torch
from hypothesis import given

from adept_llm.packing import PackedLayout
from tests.packing.trees import layouts, seen_by_token


@given(layouts(smallest=0))
def test_a_token_stands_behind_all_that_it_sees(layout):
    """Or rotary embeddings would tell packed texts from padded ones."""
    expected = [len(seen) - 1 for seen in seen_by_token(layout)]
    positions = layout.position_ids()
    assert positions.tolist() == [expected] and positions.dtype == torch.long
    assert layout.longest == max((n + 1 for n in expected), default=0)


@given(layouts(smallest=0))
def test_segments_cut_the_row_and_ancestors_come_outermost_first(layout):
    ends = list(accumulate(layout.lengths))
    seen = seen_by_token(layout)
    for i, (length, end) in enumerate(zip(layout.lengths, ends, strict=True)):
        own = list(range(end - length, end))
        assert layout.starts[i] == end - length
        assert layout.segment_tokens(i).tolist() == own
        before = layout.ancestor_tokens(i)
        assert before.dtype == torch.long and layout.context_lengths[i] == len(before)
        if length:
            assert [*before.tolist(), own[0]] == seen[own[0]]


def test_nested_segments_by_hand():
    """[P P | x x x | y | y y y of x]: a label word behind a text behind the prompt."""
    layout = PackedLayout((2, 3, 1, 3), (-1, 0, 0, 1))
    assert layout.starts == (0, 2, 5, 6)
    assert layout.ancestors == ((), (0,), (0,), (0, 1))
    assert layout.context_lengths == (0, 2, 2, 5)
    assert layout.position_ids().tolist() == [[0, 1, 2, 3, 4, 2, 5, 6, 7]]
    assert layout.ancestor_tokens(3).tolist() == [0, 1, 2, 3, 4]
    assert layout.longest == 8


def test_a_shared_prefix_is_the_parent_of_every_text():
    assert PackedLayout.shared_prefix(4, [3, 0, 2]) == PackedLayout((4, 3, 0, 2), (-1, 0, 0, 0))
    assert PackedLayout.shared_prefix(0, []) == PackedLayout((0,), (-1,))


def test_a_layout_without_segments_is_empty():
    layout = PackedLayout((), ())
    assert layout.starts == () and layout.longest == 0
    positions = layout.position_ids()
    assert positions.shape == (1, 0) and positions.dtype == torch.long


@pytest.mark.parametrize(
    ("lengths", "parents", "said"),
    [
        ((1, 2), (-1,), "one parent per segment"),
        ((1,), (-1, 0), "one parent per segment"),
        ((1, -1), (-1, 0), "length >= 0"),
        ((1, 1), (-1, 1), "stands before it"),
        ((1, 1), (0, 0), "stands before it"),
        ((1, 1), (-1, -2), "stands before it"),
    ],
)
def test_what_is_no_tree_in_row_order_is_refused(lengths, parents, said):
    with pytest.raises(ValueError, match=said):
        PackedLayout(lengths, parents)


def test_a_plan_is_made_once_for_each_kernel_and_device():
    """All layers of a model share it."""
    made = []

    class Plan:
        def __init__(self, layout, device):
            made.append((layout, device))

    class Other(Plan):
        pass

    layout = PackedLayout.shared_prefix(2, [3])
    cpu, meta = torch.device("cpu"), torch.device("meta")
    first = layout.plan(Plan, cpu)
    assert layout.plan(Plan, cpu) is first and made == [(layout, cpu)]
    assert isinstance(layout.plan(Other, cpu), Other)
    assert layout.plan(Plan, meta) is not first and made[-1] == (layout, meta)
    assert PackedLayout.shared_prefix(2, [3]).plan(Plan, cpu) is not first
