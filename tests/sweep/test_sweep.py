"""A sweep from end to end: real runs of a tiny model, then runs that only pretend."""

import json
import math
from pathlib import Path

import pytest

from adept_llm.cli.parsing import parse
from adept_llm.cli.sweep import format_outcome, read_plan, to_mapping
from adept_llm.cli.train import KINDS, settle
from adept_llm.errors import InputError
from adept_llm.sweep.launchers import LocalLauncher
from adept_llm.sweep.plan import SweepPlan
from adept_llm.sweep.runs import Run
from adept_llm.sweep.sweep import read_chosen, sweep
from tests.sweep.plans import in_this_process, real_plan


def test_real_runs_are_searched_chosen_and_answered(yes_no_rows, tmp_path):
    """The loss chooses; the chosen runs alone are long, of other seeds, and see the test rows."""
    plan = real_plan(yes_no_rows, tmp_path / "out", seeds=[1, 2])
    outcome = sweep(plan, in_this_process)
    losses = {run: run.results()["after"]["loss"] for run in outcome.searched}
    best = min(losses, key=losses.get)
    assert f"learning_rate={outcome.found.setting['learning_rate']}" in best.folder.name
    assert [run.results()["steps"] for run in (*outcome.searched, *outcome.final)] == [1, 1, 2, 2]
    assert all(set(run.results()["test"]) == {"accuracy", "loss"} for run in outcome.final)
    assert (outcome.final[0].folder / "predictions.jsonl").read_text().count("\n") == 16
    first, second = (json.loads((run.folder / "run.json").read_text()) for run in outcome.final)
    assert first["results"]["after"]["loss"] != second["results"]["after"]["loss"]
    assert [one["adapter"]["init_seed"] for one in (first, second)] == [1, 2]
    told = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert told["chosen"] == outcome.found.setting and len(told["search"]) == 2
    assert read_chosen(tmp_path / "out") == outcome.found.setting
    # once more: nothing is run
    again = sweep(plan, lambda runs: pytest.fail("ran again"))
    assert again == outcome
    # with other arguments, the old runs are no answer
    other = real_plan(yes_no_rows, tmp_path / "out", final={"max_grad_norm": 0.5}, seeds=[1, 2])
    with pytest.raises(InputError, match="was made with other arguments"):
        sweep(other, lambda runs: None)


def test_folders_of_different_values_have_different_names():
    """Long texts, paths, and words that differ in what no folder's name may hold."""
    texts = ["x" * 80 + "a", "x" * 80 + "b", "a/b", "a b", "a_b"]
    plan = SweepPlan("out", {"prompt_init_text": texts})
    names = [Run.of(plan, one, 0, {}, "search").folder.name for one in plan.grid()]
    assert len(set(names)) == len(texts) and all("/" not in name for name in names)
    assert names[-1] == "prompt_init_text=a_b,seed=0" and max(map(len, names)) < 100


def test_a_rate_that_diverges_is_the_worst_and_a_refusal_ends_the_sweep(pretend):
    """The former belongs to a search; the latter is a mistake that each run would repeat."""
    outcome = sweep(pretend(search={"learning_rate": [0.3, 9]}), LocalLauncher())
    assert [run.value("loss") for run in outcome.searched] == [pytest.approx(0.2), math.inf]
    assert outcome.found.setting == {"learning_rate": 0.3}
    with pytest.raises(InputError, match="learning_rate=8,seed=0: learning_rate: 8 is too much"):
        sweep(pretend(search={"learning_rate": [0.3, 8]}), LocalLauncher())
    with pytest.raises(InputError, match="8 is too much"):
        sweep(pretend(search={"learning_rate": [8, 0.4]}), LocalLauncher())
    assert not list(Path(pretend().output_dir).rglob("learning_rate=0.4*"))  # not even begun
    hot = pretend(search={"learning_rate": [9], "seconds": [0.0, 0.1]})
    with pytest.raises(InputError, match="no run of the search has a finite loss"):
        sweep(hot, LocalLauncher())


def test_a_run_that_dies_without_a_word_ends_the_sweep(pretend):
    """Killed for memory, say: it is no bad setting, and the same command goes on."""
    with pytest.raises(InputError, match="ended without a result; the log in that folder"):
        sweep(pretend(), lambda runs: None)


def test_the_mean_of_several_seeds_chooses(pretend):
    """Each setting has a run of each seed."""
    outcome = sweep(pretend(search_seeds=[5, 6], seeds=[]), LocalLauncher(("", "")))
    names = [run.folder.name for run in outcome.searched]
    assert len(names) == 6 and names[:2] == [
        "learning_rate=0.03,seed=5", "learning_rate=0.03,seed=6"
    ]  # fmt: skip
    assert outcome.found.setting == {"learning_rate": 0.1} and outcome.found.tried == 3


def test_another_metric_is_the_greater_the_better(pretend):
    """And one that was not measured is named."""
    outcome = sweep(pretend(metric="accuracy"), LocalLauncher())
    assert outcome.found.setting == {"learning_rate": 0.03}
    assert outcome.found.at_edge == ("learning_rate",)
    with pytest.raises(InputError, match="'f1' was not measured .* known: loss, accuracy"):
        sweep(pretend(metric="f1"), LocalLauncher())


def test_the_file_and_the_words_behind_it(tmp_path):
    """Words override the file's arguments; 1e-4 is a number."""
    file = tmp_path / "plan.yaml"
    file.write_text("search: {learning_rate: [1e-4, 1e-3]}\narguments: {task: sst2, seed: 3}\n")
    plan = read_plan(file, "out", ["--task", "rte", "--reference", "w1", "dropout", "--a=b"])
    assert plan.search == {"learning_rate": [1e-4, 1e-3]}
    assert plan.arguments == {
        "task": "rte", "seed": 3, "reference": ["w1", "dropout"], "a": "b"
    }  # fmt: skip
    with pytest.raises(InputError, match="'x' belongs to no argument"):
        to_mapping(["x"])
    with pytest.raises(InputError, match="output_dir is missing"):
        read_plan(file, None, [])
    file.write_text("searches: {}\n")
    with pytest.raises(InputError, match="'searches' is unknown; known: output_dir, search"):
        read_plan(file, "out", [])


@pytest.mark.parametrize("held", ["resume_from_checkpoint: auto", "overwrite_output_dir: true"])
def test_a_recipe_may_say_what_becomes_of_an_older_run(held, yes_no_rows, tmp_path):
    """The sweep says it itself; the two words refused each other in every run of such a recipe."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"{held}\n")
    arguments = {**real_plan(yes_no_rows, tmp_path).arguments, "recipe": str(recipe)}
    run = Run.of(real_plan(yes_no_rows, tmp_path, arguments=arguments), {}, 0, {}, "search")
    *_, fresh, _ = parse(KINDS, run.arguments(), settle)
    assert (fresh.resume_from_checkpoint or None, fresh.overwrite_output_dir) == (None, True)
    (run.folder / "checkpoint-1").mkdir(parents=True)
    *_, resumed, _ = parse(KINDS, run.arguments(), settle)
    assert (resumed.resume_from_checkpoint, resumed.overwrite_output_dir) == ("auto", False)


def test_a_metric_that_the_first_run_did_not_measure_ends_the_sweep(pretend):
    """Of a program of one's own nothing is known before; its other runs would be in vain."""
    plan = pretend(metric="f1")
    with pytest.raises(InputError, match="'f1' was not measured"):
        sweep(plan, LocalLauncher())
    assert len(list(Path(plan.output_dir).rglob("run.json"))) == 1


def test_the_mark_stands_at_the_chosen_setting(pretend):
    """Which the mean over seeds chooses, in the last rung; not at the luckiest run of all."""
    plan = pretend(search_seeds=[5, 6], seeds=[], rungs=[1, 2], metric="accuracy")
    numbers = iter([0.9, 0.1, 0.6, 0.8, 0.5, 0.5, 0.7, 0.7])

    def launch(runs):
        for run in runs:
            run.prepare()
            results = {"after": {"loss": 1.0, "accuracy": next(numbers)}}
            like = json.loads(Path(plan.arguments["like"]).read_text())
            (run.folder / "run.json").write_text(json.dumps(like | {"results": results}))

    outcome = sweep(plan, launch)
    marked = [line.split()[0] for line in format_outcome(plan, outcome).splitlines() if "*" in line]
    assert marked == [f"search-2/learning_rate=0.1,seed={seed}" for seed in (5, 6)]
