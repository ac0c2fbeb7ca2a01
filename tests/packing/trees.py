"""Random layouts, and which token sees which in them by walking the tree token by token."""

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from adept_llm.packing import PackedLayout


@st.composite
def layouts(draw: DrawFn, smallest: int = 1) -> PackedLayout:
    """Any tree of segments with at least so many tokens in all."""
    lengths = draw(st.lists(st.integers(0, 6), min_size=1, max_size=7))
    parents = [draw(st.integers(-1, i - 1)) for i in range(len(lengths))]
    if sum(lengths) < smallest:
        lengths[0] = smallest
    return PackedLayout(tuple(lengths), tuple(parents))


def seen_by_token(layout: PackedLayout) -> list[list[int]]:
    """For each token of the row the tokens that it sees, in the order in which they are read."""
    rows: list[list[int]] = []  # row indices of each segment
    total = 0
    for length in layout.lengths:
        rows.append(list(range(total, total + length)))
        total += length
    seen = []
    for i, own in enumerate(rows):
        before: list[int] = []
        parent = layout.parents[i]
        while parent != -1:
            before = rows[parent] + before
            parent = layout.parents[parent]
        seen += [before + own[: n + 1] for n in range(len(own))]
    return seen
