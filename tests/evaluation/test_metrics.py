"""Metrics against numbers that were not computed by them."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adept_llm.data import Example
from adept_llm.errors import InputError
from adept_llm.evaluation.metrics import (
    METRICS,
    compute,
    last_number,
    majority,
    normalize,
    pass_at_k,
)
from adept_llm.tasks import get_task, task_names


def labelled(targets, labels=("no", "yes"), groups=None):
    groups = groups or [""] * len(targets)
    return [
        Example("?", "x", target, id=str(n), labels=labels, group=group)
        for n, (target, group) in enumerate(zip(targets, groups, strict=True))
    ]


def answered(*answers):
    return [Example("?", "x", one[0], id=str(n), answers=one) for n, one in enumerate(answers)]


def binary(tp, fp, fn, tn):
    """Examples and predictions with these counts of the second label."""
    pairs = [("yes", "yes")] * tp + [("no", "yes")] * fp + [("yes", "no")] * fn
    pairs += [("no", "no")] * tn
    return labelled([gold for gold, _ in pairs]), [said for _, said in pairs]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.tuples(*[st.integers(0, 6)] * 4).filter(any))
def test_binary_metrics_by_their_definitions(counts):
    """F1 = 2tp / (2tp + fp + fn); Matthews by the contingency table; 0 where undefined."""
    tp, fp, fn, tn = counts
    found = compute(["accuracy", "f1", "f1a", "matthews"], *binary(*counts))
    assert found["accuracy"] == pytest.approx((tp + tn) / sum(counts))
    f1 = 2 * tp / (2 * tp + fp + fn) if tp else 0
    assert found["f1"] == found["f1a"] == pytest.approx(f1)
    under = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert found["matthews"] == pytest.approx((tp * tn - fp * fn) / under if under else 0)


def test_cola_by_scikit_learn_by_hand():
    """The example of scikit-learn's documentation: -0.33."""
    examples = labelled(["yes", "yes", "yes", "no"])
    found = compute(["matthews"], examples, ["yes", "no", "yes", "yes"])
    assert found["matthews"] == pytest.approx(-1 / 3)


def test_macro_f1_of_three_labels():
    """Mean over labels, not over examples: (0.8 + 2/3 + 0) / 3."""
    labels = ("a", "b", "c")
    examples = labelled(["a", "a", "b", "c", "a"], labels)
    found = compute(["macro_f1"], examples, ["a", "a", "b", "b", "c"])
    assert found["macro_f1"] == pytest.approx((0.8 + 2 / 3 + 0) / 3)


def test_multirc_by_its_definition():
    """F1a is over all answers; a question counts only if all of its answers are judged right."""
    gold = ["yes", "no", "yes", "yes", "no"]
    said = ["yes", "no", "yes", "no", "no"]
    groups = ["0-0", "0-0", "0-1", "0-1", "1-0"]
    found = compute(["f1a", "grouped_exact_match"], labelled(gold, groups=groups), said)
    assert found["f1a"] == pytest.approx(2 * 2 / (2 * 2 + 0 + 1))
    assert found["grouped_exact_match"] == pytest.approx(2 / 3)


def test_correlations_are_with_the_exact_scores():
    """By hand: r of (0, 1.1, 4.9) and (0, 1, 2), and of its ranks."""
    examples = answered(("0.0",), ("1.1",), ("4.9",))
    found = compute(["pearson", "spearman"], examples, ["0.0", "1.0", "2.0"])
    x, y = [-2.0, -0.9, 2.9], [-1, 0, 1]
    r = sum(a * b for a, b in zip(x, y, strict=True)) / math.sqrt(sum(a * a for a in x) * 2)
    assert found["pearson"] == pytest.approx(r) and r < 1
    assert found["spearman"] == pytest.approx(1.0)
    constant = compute(["pearson", "spearman"], examples, ["2.0"] * 3)
    assert constant == {"pearson": 0.0, "spearman": 0.0}


@pytest.mark.parametrize(
    "prediction, answers, exact, f1",
    [
        # questions and answers of SQuAD 1.1's development set; values by its definition
        ("Denver Broncos", ("Denver Broncos", "the Broncos"), 1, 1),
        ("The Denver Broncos!", ("Denver Broncos",), 1, 1),
        ("Broncos", ("Denver Broncos", "Carolina Panthers"), 0, 2 / 3),
        ("in Santa Clara, California", ("Santa Clara, California", "Levi's Stadium"), 0, 6 / 7),
        ("Levis Stadium in the Bay", ("Levi's Stadium", "Bay"), 0, 2 / 3),
        ("gold gold", ("gold",), 0, 2 / 3),
        ("the", ("a",), 1, 0),  # both empty: no word is shared in SQuAD 1.1, whose script MRQA has
        ("", ("gold",), 0, 0),
        ("the", ("gold",), 0, 0),
    ],
)
def test_question_answering_as_squad_scores_it(prediction, answers, exact, f1):
    """The best of all answers, after normalisation."""
    found = compute(["exact_match", "token_f1"], answered(answers), [prediction])
    assert found == {"exact_match": exact, "token_f1": pytest.approx(f1)}


def test_normal_form():
    """Articles as words only, punctuation of ASCII, white space."""
    assert normalize(" The  cat's an-them, a\tTHEME. ") == "cats anthem theme"


@pytest.mark.parametrize(
    "text, number",
    [
        ("so 3 + 4 = 7\n#### 7", 7),
        ("#### 1,005", 1005),
        ("#### $1,005.50 in all, 3 times", 1005.5),
        ("it is -3.", -3),
        ("6 eggs, then 12.0", 12),
        ("none", None),
        ("7 ####", None),
    ],
)
def test_final_numbers(text, number):
    """Behind the marks, else the last; '7.0' is 7."""
    found = last_number(text)
    assert (None if found is None else float(found)) == number


def test_gsm8k():
    """The number decides, not the way to it; nothing is not a number."""
    examples = [Example("?", "x", f"so\n#### {n}", id=str(n)) for n in ("1,005", "2", "3")]
    said = ["#### 1005.0", "2 + 1 = 3", "no idea"]
    assert compute(["final_number"], examples, said) == {"final_number": 1 / 3}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(n=st.integers(1, 20), c=st.integers(0, 20), k=st.integers(1, 20))
def test_pass_at_k_by_counting(n, c, k):
    """1 - C(n - c, k) / C(n, k), as Chen et al. define it."""
    c, k = min(c, n), min(k, n)
    assert pass_at_k(n, c, k) == pytest.approx(1 - math.comb(n - c, k) / math.comb(n, k))


def test_the_majority_is_of_training():
    """The most frequent label there; of label words that differ, the most frequent place."""
    train = labelled(["yes", "no", "yes"])
    assert majority(train, labelled(["no", "no"])) == ["yes", "yes"]
    options = labelled(["a"], ("a", "b")) + labelled(["d"], ("c", "d")) * 2
    assert majority(options, labelled(["e"], ("e", "f"))) == ["f"]
    assert majority(answered(("x",), ("y",), ("y",)), answered(("z",))) == ["y"]


def test_every_task_names_metrics_that_exist():
    """And an unknown one is refused with the known."""
    assert {one for name in task_names() for one in get_task(name).metrics} <= METRICS.keys()
    with pytest.raises(InputError, match="unknown metric 'bleu'; known: accuracy, "):
        compute(["bleu"], labelled(["yes"]), ["yes"])
