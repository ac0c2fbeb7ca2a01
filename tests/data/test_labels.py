"""Labels or free text: decided by the answers, and told."""

import pytest

from adept_llm.data import Example, describe_answers
from adept_llm.data.labels import label_set
from adept_llm.errors import InputError


def examples(*targets, labels=()):
    return [
        Example("", "x", target, id=f"f:{n}", labels=labels) for n, target in enumerate(targets, 1)
    ]


def test_labels_are_few_and_repeated():
    """Free text must not be scored as if it were one of a few labels."""
    assert label_set(examples("yes", "no", "yes", "no")) == ("no", "yes")
    assert label_set(examples("yes", "no", "yes")) == ()
    assert label_set(examples("yes", "yes")) == ()
    assert label_set(examples(*map(str, list(range(20)) * 2))) != ()
    assert label_set(examples(*map(str, list(range(21)) * 2))) == ()
    assert label_set([]) == ()


@pytest.mark.parametrize(
    "odd", ["Good", "good ", "GOOD.", "\ngood", '"good"', "good\u00a0", "good\u200b"]
)
def test_one_row_with_another_spelling_is_refused_with_the_fix(odd):
    """It would make a label of its own, or free text of the whole file, without a word."""
    rows = examples(*["good"] * 19, *["bad"] * 20, odd)
    with pytest.raises(InputError) as error:
        label_set(rows)
    line = str(error.value)
    assert line.startswith("2 labels: bad 20, good 19; 1 row ")
    assert repr(odd) in line and "f:40" in line and "write 'good'" in line


def test_an_accent_may_stand_in_one_way_only():
    """Behind its letter, as macOS writes it, or in it: nobody sees a difference."""
    rows = examples(*["caf\u00e9", "bar"] * 3, "cafe\u0301")
    with pytest.raises(InputError, match=r"write 'caf\u00e9' for 'cafe\\u0301'"):
        label_set(rows)


def test_words_in_one_label_may_not_be_joined_in_several_ways():
    rows = examples(*["not entailment", "entailment"] * 3, *["not_entailment"] * 2)
    with pytest.raises(InputError, match="2 rows 'not_entailment' .* write 'not entailment'"):
        label_set(rows)


@pytest.mark.parametrize(
    "labels",
    [("+", "-"), ("C", "C#", "C++"), ("!", "?"), ("-1", "1"), ("3.0", "30"), ("x2", "x\u00b2")],
)
def test_marks_that_make_the_difference_do(labels):
    """Refusing them would leave no way out."""
    assert label_set(examples(*labels * 2)) == tuple(sorted(labels))


def test_free_text_may_be_written_as_it_comes():
    """Two spellings of one answer among many are no mistake."""
    assert label_set(examples("Paris", "paris", *(f"word {n}" for n in range(30)))) == ()


def test_the_kind_is_told():
    """A user learns from the log's first lines that the file was not taken for what it is."""
    labels = ("bad", "good")
    rows = examples(*["good"] * 19, *["bad"] * 20, labels=labels)
    assert describe_answers(rows) == "2 labels: bad 20, good 19"
    rows = examples("a", "b", "c", "c")
    assert describe_answers(rows) == "free text: 3 different answers in 4 rows"
    rows = examples(*["good"] * 19, *["bad"] * 20, "excelent")
    line = describe_answers(rows)
    assert line.startswith("free text: 3 different answers in 40 rows; they would be 2 labels")
    assert "(bad 20, good 19) but for 1 row 'excelent' (f:40)" in line
    differing = examples("a", labels=("a", "b")) + examples("c", labels=("c", "d"))
    assert "differ from row to row" in describe_answers(differing)


def test_labels_with_white_space_are_told_in_quotes():
    assert describe_answers(examples("\nYes", labels=("\nNo", "\nYes"))).endswith("'\\nYes' 1")
