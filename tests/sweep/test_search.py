"""Which settings are tried, and which is chosen, against surfaces whose best is known."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adept_llm.errors import InputError
from adept_llm.sweep.plan import SweepPlan
from adept_llm.sweep.search import search

RATES = {"learning_rate": [0.03, 0.1, 0.3], "offset_learning_rate": [0.001, 0.003, 0.01]}


def plan(**given):
    return SweepPlan(**{"output_dir": "out", "search": RATES} | given)


def bowl(best, calls=None):
    """A loss that rises with the distance, in decades, from the best rates."""

    def measure(settings, steps):
        if calls is not None:
            calls.append((len(settings), steps))
        return [
            sum((math.log10(one[name]) - math.log10(best[name])) ** 2 for name in best)
            for one in settings
        ]

    return measure


def test_a_grid_is_tried_whole_and_its_edges_are_told():
    """All nine; the middle is no edge, a corner is one on both axes."""
    calls = []
    middle = {"learning_rate": 0.1, "offset_learning_rate": 0.003}
    found = search(plan(), bowl(middle, calls))
    assert found == (middle, 9, ()) and calls == [(9, None)]
    corner = {"learning_rate": 0.3, "offset_learning_rate": 0.001}
    assert search(plan(), bowl(corner)) == (corner, 9, ("learning_rate", "offset_learning_rate"))


def test_the_walk_goes_beyond_its_lists_and_says_when_it_was_cut_short():
    """From the middle to 1.0 and 1e-4, by the axes' own ratios of about 3."""
    far = {"learning_rate": 1.0, "offset_learning_rate": 1e-4}
    found = search(plan(strategy="neighbours"), bowl(far))
    assert found.at_edge == ()
    assert found.setting["learning_rate"] == pytest.approx(1.0, rel=0.1)
    assert found.setting["offset_learning_rate"] == pytest.approx(1e-4, rel=0.1)
    short = search(plan(strategy="neighbours", max_settings=6), bowl(far))
    assert short.tried == 6 and short.at_edge


def test_what_is_left_of_the_settings_goes_to_finer_steps():
    """So that one rate is tried as often as two are, where methods are compared."""
    one_rate = {"learning_rate": [0.03, 0.1, 0.3]}
    seen = []

    def measure(settings, steps):
        seen.extend(one["learning_rate"] for one in settings)
        return bowl({"learning_rate": 0.13})(settings, steps)

    found = search(plan(search=one_rate, strategy="neighbours", max_settings=7), measure)
    assert seen == [0.1, 0.03, 0.3, 0.055, 0.17, 0.074, 0.13] and found.tried == 7
    assert found.setting == {"learning_rate": 0.13} and found.at_edge == ()
    # never for ever: down to quarters
    assert search(plan(search=one_rate, strategy="neighbours"), measure).tried < 12


def test_words_and_whole_numbers_end_with_their_lists():
    """There is no prompt_init behind the last one, and no size between sizes."""
    axes = {"prompt_init": ["vocab", "normal"], "num_virtual_tokens": [10, 20, 40]}
    seen = []

    def measure(settings, steps):
        seen.extend(settings)
        return [-one["num_virtual_tokens"] - (one["prompt_init"] == "normal") for one in settings]

    found = search(plan(search=axes, strategy="neighbours"), measure)
    assert found.setting == {"prompt_init": "normal", "num_virtual_tokens": 40}
    assert found.at_edge == () and len(seen) == len({tuple(one.values()) for one in seen})


@given(
    st.floats(-4, 1), st.floats(-5, 0), st.integers(1, 12),
)  # fmt: skip
def test_the_walk_never_tries_twice_and_never_more_than_allowed(a, b, most):
    """Wherever the best lies."""
    seen = []
    target = bowl({"learning_rate": 10**a, "offset_learning_rate": 10**b})

    def measure(settings, steps):
        seen.extend(tuple(one.values()) for one in settings)
        return target(settings, steps)

    found = search(plan(strategy="neighbours", max_settings=most), measure)
    assert len(seen) == len(set(seen)) == found.tried <= most
    losses = target([dict(zip(RATES, one, strict=True)) for one in seen], None)
    assert tuple(found.setting.values()) == seen[losses.index(min(losses))]


def test_halving_gives_the_best_third_more_steps():
    """9 at 10 steps, 3 at 30, 1 at 90; a late best among them wins by the last rung's loss."""
    calls = []
    best = {"learning_rate": 0.1, "offset_learning_rate": 0.003}
    found = search(plan(rungs=[10, 30, 90]), bowl(best, calls))
    assert calls == [(9, 10), (3, 30), (1, 90)] and found.setting == best and found.tried == 9


def test_a_failed_run_is_the_worst():
    """A rate that diverges is no reason to stop."""

    def measure(settings, steps):
        return [math.inf if one["learning_rate"] > 0.05 else 1.0 for one in settings]

    assert search(plan(), measure).setting["learning_rate"] == 0.03


def test_draws_lie_in_their_range_and_come_again():
    """The same ones at every start, or a stopped sweep would not find its runs."""
    ranges = {"learning_rate": {"low": 0.01, "high": 1}, "prompt_init": ["vocab", "normal"]}
    one = plan(search=ranges, strategy="random", max_settings=40, search_seeds=[5])
    drawn = one.drawn()
    assert drawn == one.drawn() and len(drawn) == 40
    rates = [each["learning_rate"] for each in drawn]
    assert all(0.01 <= rate <= 1 for rate in rates)
    # even by logarithm: about half lie below the geometric middle
    assert 10 <= sum(rate < 0.1 for rate in rates) <= 30
    assert {each["prompt_init"] for each in drawn} == {"vocab", "normal"}
    # a setting that was drawn twice would be two runs in one folder
    few = plan(search={"prompt_init": ["vocab", "normal"]}, strategy="random", max_settings=9)
    assert sorted(one["prompt_init"] for one in few.drawn()) == ["normal", "vocab"]


def test_values_that_go_together_are_combined_with_the_grid():
    """Two sizes at two rates: four, and no sizes that no one gave."""
    sizes = [
        {"num_virtual_tokens": 20, "bottleneck_size": 39},
        {"num_virtual_tokens": 60, "bottleneck_size": 19},
    ]
    one = plan(search={"learning_rate": [0.1, 0.3]}, settings=sizes)
    assert one.grid() == [size | {"learning_rate": rate} for size in sizes for rate in (0.1, 0.3)]
    assert plan(search={}, settings=sizes).grid() == sizes


def test_a_single_setting_needs_no_search():
    """Rates that are carried over from another task."""
    found = search(plan(search={"learning_rate": [0.1]}), lambda *_: pytest.fail("was run"))
    assert found == ({"learning_rate": 0.1}, 1, ())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"strategy": "bayes"}, "strategy: 'bayes' is unknown"),
        ({"max_settings": 8}, "the grid has 9, allowed are 8"),
        ({"max_settings": 0}, "tries nothing"),
        ({"rungs": [30, 10]}, "must rise"),
        ({"rungs": ["many"]}, "numbers of steps"),
        ({"seeds": [0, 1]}, "0 is the search's own"),
        ({"seeds": [1, 1]}, "seeds: .1, 1. holds one twice"),
        ({"search_seeds": []}, "search_seeds: give one"),
        ({"settings": [3]}, "settings: expected a list of mappings"),
        ({"settings": [{"seed": 3}], "strategy": "random"}, "goes with 'strategy: grid'"),
        ({"seeds": 3}, "seeds: expected a list"),
        ({"keep": 1.0}, "keep: 1.0"),
        ({"keep": "half"}, "keep: 'half' is no share"),
        ({"seeds": ["a"]}, "must be whole numbers"),
        ({"search": {"learning_rate": 0.1}}, "expected a list of values"),
        ({"search": {"learning_rate": [0.1, 0.1]}}, "holds a value twice"),
        ({"search": {"learning_rate": {"low": 1, "high": 2}}}, "goes with 'strategy: random'"),
        ({"search": {"seed": [1, 2]}}, "seed: is the sweep's own"),
        ({"arguments": {"learning_rate": 1}}, "stands in search and in arguments"),
        ({"arguments": "x"}, "arguments: expected a mapping"),
        ({"output_dir": ""}, "output_dir"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_refused(wrong, says):
    """In one line that names it."""
    with pytest.raises(InputError, match=says):
        plan(**wrong)
