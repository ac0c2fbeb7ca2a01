"""Groups, means and the choice among groups."""

from pathlib import Path

import pytest

from adept_llm.report.groups import Comparison, choose, group_runs, main_metric, spread
from adept_llm.report.runs import Run
from adept_llm.report.sensitivity import edges, grid_of
from tests.report.written import SETTING, content_of, group_of, run_of


def metrics(loss=None, accuracy=None):
    given = {"loss": loss, "accuracy": accuracy}
    return {name: value for name, value in given.items() if value is not None}


def test_runs_that_differ_by_seeds_and_place_are_one_group():
    one, two = run_of(seed=1), run_of(seed=2)  # other output_dir, init_seed and fingerprint too
    other_rate = run_of(seed=1, rates=(0.1, 0.03))
    other_size = run_of(adapter={"method": "adept", "num_virtual_tokens": 9, "init_seed": 1})
    other_base = run_of(base="somewhere/else")
    groups = group_runs([one, other_rate, two, other_size, other_base])
    assert [len(group.runs) for group in groups] == [2, 1, 1, 1]
    assert groups[0].runs == (one, two)


def test_a_rate_that_trains_nothing_is_none():
    """Each run records both, for a baseline without training too."""
    asked = content_of("zero_shot")
    asked["results"]["trained_parameters"] = 0
    runs = [
        run_of(),
        run_of(method="prompt_tuning"),
        run_of(method="lora"),
        Run(Path("z"), asked, {}, {}),
    ]
    found = [(g.rate("learning_rate"), g.rate("offset_learning_rate")) for g in group_runs(runs)]
    assert found == [(0.3, 0.03), (0.3, None), (0.3, None), (None, None)]


def test_runs_of_an_earlier_version_are_of_the_same_group():
    """It wrote down fewer things, so that its seeds stood alone."""
    data = {"kind": "labels", "template": "plain", "train_fingerprint": "0"}
    later = data | {"form": "instruction", "tokens_per_batch": None}
    assert len(group_of(run_of(seed=1, data=data), run_of(seed=2, data=later)).runs) == 2


def test_runs_of_other_programs_may_have_any_kind_of_data():
    """Such as a name alone, which ended the whole report with a trace."""
    runs = [run_of(data=data) for data in ("sst2", "sst2", ["sst2", "rte"], 3, None, {})]
    assert [len(group.runs) for group in group_runs(runs)] == [2, 1, 1, 1, 1]


def test_mean_and_sample_deviation_by_hand():
    """Of 1, 2, 6: mean 3, squares 4 + 1 + 9 = 14, over n - 1 = 2 is 7."""
    found = spread([1.0, None, 2.0, 6.0])
    assert found is not None
    assert found.mean == 3.0
    assert found.deviation == pytest.approx(7**0.5)
    alone = spread([2.5])
    assert alone is not None and (alone.mean, alone.deviation) == (2.5, None)
    assert spread([None]) is None


def test_the_lowest_validation_loss_is_chosen_whatever_metric_and_test_say():
    low = group_of(run_of(after=metrics(0.4, 0.7), rates=(0.1, 0.03), test={"accuracy": 0.5}))
    high = group_of(run_of(after=metrics(0.6, 0.9), test={"accuracy": 0.99}))
    choice = choose([high, low], "accuracy")
    assert (choice.group, choice.search, choice.by) == (low, (high,), "loss")


def test_what_a_search_has_chosen_stands_before_its_shorter_runs():
    """Those may be luckier on their rows; and sensitivity is shown on them, the choice ringed."""
    found = [(0.1, 0.3), (0.3, 0.2), (1.0, 0.9)]
    searched = [group_of(run_of(after=metrics(loss), rates=(r, 0.03))) for r, loss in found]
    content = content_of(seed=5, after=metrics(0.25), rates=(0.3, 0.03))
    content["arguments"]["training"]["max_steps"] = 500
    final = group_of(Run(Path("nowhere"), content, {}, {"accuracy": 0.9}))
    choice = choose([*searched, final], "accuracy")
    assert choice.group is final and choice.search == tuple(searched)
    grid = grid_of(choice)
    assert grid.chosen == (0.3, 0.03) and grid.values(0) == [0.1, 0.3, 1.0] and grid.others == 1


def test_further_seeds_of_the_chosen_rates_do_not_flip_the_choice():
    """Seed 1 of 'chosen' is better than that of 'other'; its further seeds are worse than both."""
    losses = {1: 0.40, 2: 0.60, 3: 0.62}
    chosen = group_of(*(run_of(seed=s, after=metrics(loss)) for s, loss in losses.items()))
    other = group_of(run_of(seed=1, after=metrics(0.45), rates=(0.1, 0.03)))
    assert choose([other, chosen], "accuracy").group is chosen
    # without a seed in common the means over all seeds decide
    apart = group_of(run_of(seed=9, after=metrics(0.45), rates=(0.1, 0.03)))
    assert choose([apart, chosen], "accuracy").group is apart


def test_runs_that_name_no_seed_all_count():
    """Of another program's runs none may say its seed: the last one must not stand for all."""
    one = [run_of(seed=None, after=metrics(loss)) for loss in (0.9, 0.1)]
    two = [run_of(seed=None, after=metrics(loss), rates=(0.1, 0.03)) for loss in (0.3, 0.3)]
    assert choose([group_of(*one), group_of(*two)], "accuracy").group == group_of(*two)


def test_without_a_loss_the_metric_decides_and_a_group_with_a_loss_goes_first():
    bad = group_of(run_of(after=metrics(accuracy=0.5), rates=(0.1, 0.03)))
    good = group_of(run_of(after=metrics(accuracy=0.7)))
    choice = choose([bad, good], "accuracy")
    assert (choice.group, choice.by) == (good, "accuracy")
    measured = group_of(run_of(after=metrics(9.0, 0.1), rates=(1.0, 0.03)))
    assert choose([bad, good, measured], "accuracy").group is measured
    nothing = [group_of(run_of(after={}, rates=(rate, 0.03))) for rate in (0.1, 0.3)]
    choice = choose(nothing, "accuracy")
    assert (choice.group, choice.by) == (nothing[0], "")


def test_the_metric_is_the_tasks_first_that_was_measured():
    runs = [run_of(task="stsb", after={"loss": 1.0, "spearman": 0.5, "pearson": 0.6})]
    assert main_metric(group_runs(runs)) == "pearson"
    runs = [run_of(task="mbpp", after={"loss": 1.0})]
    assert main_metric(group_runs(runs)) == "loss"
    own = content_of()["arguments"] | {"data": {"train_file": "mine.jsonl"}}
    runs = [run_of(arguments=own, after={"loss": 1.0, "exact_match": 0.5})]
    assert main_metric(group_runs(runs)) == "exact_match"


def test_other_programs_methods_come_first_and_bases_are_kept_apart():
    runs = [run_of(method=name) for name in ("dept", "adept", "lora")] + [run_of(base="x/other")]
    found = Comparison.of(runs)
    assert found.methods == ("lora", "adept", "dept")
    assert [found.name(setting) for setting in found.settings] == ["sst2 · base", "sst2 · other"]
    assert set(found.chosen(SETTING)) == {"lora", "adept", "dept"}
    assert Comparison.of(runs[:1]).name(SETTING) == "sst2"


def search(*points, chosen):
    """A choice among groups with these rates; the chosen one has the lowest loss."""
    groups = [
        group_of(run_of(rates=point, after=metrics(0.1 if point == chosen else 0.5)))
        for point in points
    ]
    return choose(groups, "accuracy")


@pytest.mark.parametrize(
    ("chosen", "edge"), [(0.1, "lowest"), (0.3, ""), (1.0, "highest")], ids=str
)
def test_the_end_of_a_grid_is_flagged(chosen, edge):
    choice = search((0.1, 0.03), (1.0, 0.03), (0.3, 0.03), chosen=(chosen, 0.03))
    grid = grid_of(choice)
    assert grid.values(0) == [0.1, 0.3, 1.0]
    assert (grid.edge(0), grid.edge(1)) == (edge, "")  # one value is no grid
    assert grid.varied() == [0]
    assert edges([grid]) == bool(edge)


def test_a_line_goes_through_the_chosen_point_and_other_choices_are_left_out():
    choice = search((0.1, 0.01), (0.1, 0.03), (0.3, 0.03), (0.3, None), chosen=(0.1, 0.03))
    odd = group_of(run_of(adapter={"method": "adept", "num_virtual_tokens": 9}, rates=(7.0, 0.03)))
    grid = grid_of(choose([choice.group, *choice.search, odd], "accuracy"))
    assert [rate for rate, _ in grid.line(0)] == [0.1, 0.3]
    assert [rate for rate, _ in grid.line(1)] == [0.01, 0.03]
    assert grid.values(0) == [0.1, 0.3] and grid.others == 1
