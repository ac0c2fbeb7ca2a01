"""A sweep from end to end: real runs of a tiny model, then runs that only pretend."""

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from adept_llm.cli.main import main
from adept_llm.cli.parsing import parse
from adept_llm.cli.sweep import format_outcome, launcher, read_plan, to_mapping
from adept_llm.cli.sweep_arguments import check_arguments, metrics_of
from adept_llm.cli.train import KINDS, settle
from adept_llm.demo import MODEL
from adept_llm.errors import InputError
from adept_llm.sweep.launchers import LocalLauncher, SlurmLauncher, end
from adept_llm.sweep.plan import SweepPlan
from adept_llm.sweep.runs import Run
from adept_llm.sweep.sweep import read_chosen, sweep
from adept_llm.training.arguments import DataArguments

# a program that takes arguments as `train` does and pretends to have run; its loss is smallest at
# a rate of 0.1, and it fails at 9
PRETEND = """
    import json, os, sys, time
    from pathlib import Path
    words = sys.argv[1:]
    given = {w[2:]: v for w, v in zip(words, words[1:]) if w.startswith("--")}
    folder, rate = Path(given["output_dir"]), float(given["learning_rate"])
    began = time.time()
    time.sleep(float(given.get("seconds", 0)))
    print("pretending", flush=True)
    if rate == 9:
        sys.exit("error: loss: nan at step 3")
    if rate == 8:
        sys.exit("error: learning_rate: 8 is too much")
    content = json.loads(Path(given["like"]).read_text())
    content["results"]["after"] = {"loss": abs(rate - 0.1), "accuracy": 1 - rate}
    content["results"]["when"] = [began, time.time(), os.environ.get("CUDA_VISIBLE_DEVICES")]
    (folder / "run.json").write_text(json.dumps(content))
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Three files of rows with two labels."""
    folder = tmp_path_factory.mktemp("rows")
    answers = ["yes", "no"] * 8
    for name in ("train", "validation", "test"):
        lines = [{"prompt": f"{i} is", "completion": a} for i, a in enumerate(answers)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    return folder


def real_plan(rows, folder, **more):
    arguments = {
        "model_name_or_path": str(MODEL), "max_steps": 2, "max_length": 48, "save_strategy": "no",
        "train_file": str(rows / "train.jsonl"), "test_file": str(rows / "test.jsonl"),
        "validation_file": str(rows / "validation.jsonl"), "report_to": "none", "use_cpu": True,
        "num_virtual_tokens": 3, "bottleneck_size": 2, "disable_tqdm": True,
    }  # fmt: skip
    search = {"learning_rate": [0.1, 0.3]}
    return SweepPlan(
        **{"output_dir": str(folder), "search": search, "arguments": arguments, "rungs": [1]} | more
    )


def in_this_process(runs):
    for run in runs:
        run.prepare()
        assert main(["train", *run.words, "--output_dir", str(run.folder)]) == 0


def test_real_runs_are_searched_chosen_and_answered(rows, tmp_path):
    """The loss chooses; the chosen runs alone are long, of other seeds, and see the test rows."""
    plan = real_plan(rows, tmp_path / "out", seeds=[1, 2])
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
    other = real_plan(rows, tmp_path / "out", final={"max_grad_norm": 0.5}, seeds=[1, 2])
    with pytest.raises(InputError, match="was made with other arguments"):
        sweep(other, lambda runs: None)


@pytest.fixture
def pretend(rows, tmp_path):
    """A plan of runs that only pretend."""
    like = tmp_path / "like.json"
    if not like.exists():
        run = real_plan(rows, tmp_path / "real", rungs=[])
        in_this_process([Run.of(run, {"learning_rate": 0.1}, 0, {}, "one")])
        (found,) = (tmp_path / "real").rglob("run.json")
        like.write_text(found.read_text())
    program = tmp_path / "pretend.py"
    program.write_text(textwrap.dedent(PRETEND))

    def make(**given):
        arguments = {"like": str(like), **given.pop("arguments", {})}
        return SweepPlan(
            **{
                "output_dir": str(tmp_path / "out"), "program": str(program), "seeds": [1],
                "search": {"learning_rate": [0.03, 0.1, 0.3]}, "arguments": arguments,
            } | given
        )  # fmt: skip

    return make


def test_folders_of_different_values_have_different_names():
    """Long texts, paths, and words that differ in what no folder's name may hold."""
    texts = ["x" * 80 + "a", "x" * 80 + "b", "a/b", "a b", "a_b"]
    plan = SweepPlan("out", {"prompt_init_text": texts})
    names = [Run.of(plan, one, 0, {}, "search").folder.name for one in plan.grid()]
    assert len(set(names)) == len(texts) and all("/" not in name for name in names)
    assert names[-1] == "prompt_init_text=a_b,seed=0" and max(map(len, names)) < 100


def test_processes_run_side_by_side_each_with_its_device(pretend):
    """Never more than there are devices, and each device is used."""
    rates = [0.01, 0.02, 0.03, 0.1, 0.3]
    plan = pretend(search={"learning_rate": rates}, arguments={"seconds": 0.5}, seeds=[])
    outcome = sweep(plan, LocalLauncher(("4", "7")))
    spans = [run.results()["when"] for run in outcome.searched]
    for began, _, _ in spans:
        at_work = [device for a, b, device in spans if a <= began < b]
        assert len(at_work) == len(set(at_work)) <= 2
    assert {device for *_, device in spans} == {"4", "7"}
    assert (outcome.searched[0].folder / "output.log").read_text() == "pretending\n"


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


def test_a_sweep_that_is_told_to_stop_ends_its_runs_and_goes_on_later(pretend, tmp_path):
    """Its runs are in sessions of their own, which no Ctrl-C reaches but through it."""
    file = tmp_path / "plan.json"
    plan = pretend(arguments={"seconds": 1.0})
    content = {
        "output_dir": plan.output_dir, "program": plan.program, "search": dict(plan.search),
        "arguments": dict(plan.arguments), "seeds": [1],
    }  # fmt: skip
    file.write_text(json.dumps(content))
    command = [sys.executable, "-m", "adept_llm.cli.main", "sweep", str(file), "--parallel", "1"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "out").rglob("run.json")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    finished = len(list((tmp_path / "out").rglob("run.json")))
    time.sleep(1.5)
    assert len(list((tmp_path / "out").rglob("run.json"))) == finished < 4
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "chosen of 3 settings by loss: learning_rate 0.1" in done.stdout
    assert f"{3 - finished} of 3 runs" in done.stdout


def test_a_second_interrupt_does_not_leave_runs_behind(tmp_path):
    """It falls into the wait for runs that save; they would end with nobody to see it."""
    code = textwrap.dedent("""
        import signal, sys, time
        def stop(*_):
            time.sleep(0.5)
            open("saved", "w").close()
            sys.exit()
        signal.signal(signal.SIGTERM, stop)
        open("ready", "w").close()
        time.sleep(60)
    """)
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, start_new_session=True)
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    interrupt = threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT])
    interrupt.start()
    end([process])
    assert (tmp_path / "saved").exists() and process.returncode == 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


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


def test_settings_are_checked_before_a_run_is_started(capsys, tmp_path, rows):
    """All of them, in this process: a mistake in the last one would show after hours."""
    file = tmp_path / "plan.yaml"
    file.write_text(
        f"output_dir: {tmp_path}/out\nsearch: {{prompt_init: [vocab, wrong]}}\n"
        f"arguments: {{model_name_or_path: {MODEL}, train_file: {rows}/train.jsonl}}\n"
    )
    assert main(["sweep", str(file)]) == 2
    assert "prompt_init" in capsys.readouterr().err and not (tmp_path / "out").exists()
    plan = file.read_text().replace("vocab, wrong", "vocab")
    file.write_text(f"{plan}final: {{do_predict: true}}\n")  # of own rows without --test_file
    assert main(["sweep", str(file)]) == 2
    assert "give --test_file" in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert main(["sweep", str(file), "--parallel", "0"]) == 2
    capsys.readouterr()
    assert main(["sweep"]) == 2
    assert (
        capsys.readouterr().err == "error: arguments: the following arguments are required: FILE\n"
    )


@pytest.mark.parametrize("held", ["resume_from_checkpoint: auto", "overwrite_output_dir: true"])
def test_a_recipe_may_say_what_becomes_of_an_older_run(held, rows, tmp_path):
    """The sweep says it itself; the two words refused each other in every run of such a recipe."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"{held}\n")
    arguments = {**real_plan(rows, tmp_path).arguments, "recipe": str(recipe)}
    run = Run.of(real_plan(rows, tmp_path, arguments=arguments), {}, 0, {}, "search")
    *_, fresh, _ = parse(KINDS, run.arguments(), settle)
    assert (fresh.resume_from_checkpoint or None, fresh.overwrite_output_dir) == (None, True)
    (run.folder / "checkpoint-1").mkdir(parents=True)
    *_, resumed, _ = parse(KINDS, run.arguments(), settle)
    assert (resumed.resume_from_checkpoint, resumed.overwrite_output_dir) == ("auto", False)


REFUSED = [  # lines of a plan's file, and what is said of them
    ("strategy: random\nmax_settings: 2\nsearch: {lerning_rate: {low: 0.1, high: 1}}", "lerning_"),
    ("search: {learning_rate: [0.1, 0.3]}\nrungs: [1, 3]", "warmup_steps: 2 of 1 steps would"),
    ("search: {learning_rate: [0.1, 0.3]}\nfinal: {max_steps: 1}", "warmup_steps: 2 of 1 steps"),
    (
        "search: {learning_rate: [0.1, 0.3]}\nmetric: acuracy",
        "'acuracy' is not measured",
    ),
]


@pytest.mark.parametrize("lines, said", REFUSED, ids=[said[:9] for _, said in REFUSED])
def test_what_a_whole_stage_would_be_computed_for_in_vain(lines, said, capsys, tmp_path, rows):
    """Refused before a run is started: names of ranges, rungs, and what the search chooses by."""
    file = tmp_path / "plan.yaml"
    arguments = f"model_name_or_path: {MODEL}, train_file: {rows}/train.jsonl, warmup_steps: 2"
    file.write_text(f"{lines}\noutput_dir: {tmp_path}/out\narguments: {{{arguments}}}\n")
    words = ["sweep", str(file), "--validation_file", f"{rows}/validation.jsonl"]
    assert main(words) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_search_without_validation_rows_is_refused(capsys, tmp_path, rows):
    """One setting alone needs none: nothing is chosen."""
    file = tmp_path / "plan.yaml"
    arguments = f"arguments: {{model_name_or_path: {MODEL}, train_file: {rows}/train.jsonl}}\n"
    file.write_text(f"output_dir: {tmp_path}/out\nsearch: {{seed_of: [1]}}\n")
    file.write_text(f"output_dir: out\nsearch: {{learning_rate: [0.1, 0.3]}}\n{arguments}")
    assert main(["sweep", str(file)]) == 2
    assert "validation_file: the search chooses by loss on it" in capsys.readouterr().err
    file.write_text(f"output_dir: out\nsearch: {{learning_rate: [0.1]}}\n{arguments}")
    assert check_arguments(read_plan(file, str(tmp_path / "out"), []))


def test_the_known_metrics_of_a_task_are_its_own():
    """Of one whose programs may not be run it is the loss alone."""
    assert metrics_of(DataArguments(task="mrpc")) == ("loss", "f1", "accuracy")
    assert metrics_of(DataArguments(task="mbpp")) == ("loss",)
    assert metrics_of(DataArguments(task="mbpp", allow_code_execution=True)) == ("loss", "pass@1")


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


def test_slurm_wants_its_scripts_and_sbatch(pretend, tmp_path, monkeypatch):
    """Said in one line, before anything is written."""
    plan = pretend()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="there is no slurm/sweep.sbatch"):
        sweep(plan, SlurmLauncher())
    assert not (tmp_path / "out").exists()
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "sweep.sbatch").touch()
    broken = SweepPlan("out", {"prompt_init_text": ["a", "b\n"]})
    with pytest.raises(InputError, match=r"an argument of .* has a line break.*'b\\n'"):
        sweep(broken, SlurmLauncher())
    assert not (tmp_path / "out").exists()


def test_options_of_sbatch_may_be_quoted():
    """A comment or a feature list holds spaces."""
    assert launcher(None, "--comment='a b' --time=60") == SlurmLauncher(
        ("--comment=a b", "--time=60")
    )
    with pytest.raises(InputError, match="slurm: a quotation is not closed in --comment='a"):
        launcher(None, "--comment='a b")
