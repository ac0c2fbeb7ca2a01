"""Samples: seeded, in order, balanced by class."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adept_llm.data.example import Example
from adept_llm.data.sampling import few_shot, sample
from adept_llm.errors import InputError


def labelled(targets, labels):
    return [Example("", f"text {i}", t, id=str(i), labels=labels) for i, t in enumerate(targets)]


@given(st.integers(0, 50), st.none() | st.integers(1, 60), st.integers(0, 5))
def test_a_sample_is_some_rows_in_their_order(total, limit, seed):
    rows = list(sample(total, limit, seed))
    assert len(rows) == min(total, total if limit is None else limit)
    assert rows == sorted(set(rows)) and set(rows) <= set(range(total))
    assert rows == list(sample(total, limit, seed))


def test_every_row_may_be_drawn_and_the_seed_decides():
    drawn = Counter(row for seed in range(400) for row in sample(8, 2, seed))
    assert set(drawn) == set(range(8)) and min(drawn.values()) > 60  # 100 each on average


@pytest.mark.parametrize("limit", [0, -1])
def test_no_rows_are_no_sample(limit):
    with pytest.raises(InputError, match=f"at least 1, not {limit}"):
        sample(5, limit, 0)


@given(st.integers(1, 24), st.integers(2, 5), st.integers(0, 5))
def test_few_shots_are_balanced_by_class(shots, classes, seed):
    labels = tuple(f"label {i}" for i in range(classes))
    examples = labelled([labels[i % classes] for i in range(40)], labels)
    drawn = few_shot(examples, shots, seed)
    assert len(drawn) == shots
    places = [int(one.id) for one in drawn]
    assert places == sorted(set(places)) and drawn == [examples[place] for place in places]
    counts = Counter(one.target for one in drawn)
    if shots >= classes:
        assert min(counts[label] for label in labels) >= shots // classes
    assert drawn == few_shot(examples, shots, seed)


def test_what_is_missing_to_equal_shares_is_drawn_from_all():
    few = labelled(["a"] * 30 + ["b"] * 3, ("a", "b"))
    assert Counter(one.target for one in few_shot(few, 7, 0)) == {"a": 4, "b": 3}
    even = labelled(["a", "b"] * 10, ("a", "b"))
    assert {Counter(e.target for e in few_shot(even, 3, s))["a"] for s in range(20)} == {1, 2}


def test_neighbouring_scores_count_as_one_class():
    """STS-B has more scores than there are shots."""
    scores = tuple(map(str, range(10)))
    examples = labelled([scores[i % 10] for i in range(100)], scores)
    for seed in range(10):
        drawn = sorted(int(one.target) for one in few_shot(examples, 5, seed))
        assert [score // 2 for score in drawn] == [0, 1, 2, 3, 4]


def test_free_text_has_one_class():
    examples = labelled([f"answer {i}" for i in range(9)], ())
    assert len(few_shot(examples, 9, 0)) == 9
    assert few_shot(examples, 4, 0) != few_shot(examples, 4, 1)


@pytest.mark.parametrize("shots", [0, -2, 5])
def test_more_shots_than_examples_are_refused(shots):
    with pytest.raises(InputError, match=f"{shots} examples of 4; give 1 to 4"):
        few_shot(labelled(["a", "b"] * 2, ("a", "b")), shots, 0)


def test_a_class_that_is_too_small_is_named():
    examples = labelled(["a"] * 9 + ["b"], ("a", "b"))
    with pytest.raises(InputError) as caught:
        few_shot(examples, 5, 0)
    assert "5 examples of 2 classes need 2 of each, and the rows have 1 of 'b'" in str(caught.value)
    assert "lower --k_shot" in str(caught.value)
    assert len(few_shot(examples, 3, 0)) == 3
