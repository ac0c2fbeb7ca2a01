"""Runs of a sweep that train at once: what each leaves, what is refused, signals."""

import json
import os
import signal

import pytest

from adept_llm.base.memory import GIB, Needs
from adept_llm.cli import train_together
from adept_llm.cli.main import main
from adept_llm.cli.parsing import parse
from adept_llm.cli.sweep import launcher
from adept_llm.cli.train import KINDS, settle
from adept_llm.cli.train_together import check_alike, check_company, check_memory
from adept_llm.demo import MODEL
from adept_llm.errors import InputError
from adept_llm.sweep.launchers import LocalLauncher, groups
from adept_llm.sweep.plan import SweepPlan
from adept_llm.sweep.runs import OUTPUT_FILE, Run
from adept_llm.sweep.sweep import sweep
from adept_llm.training.concurrent import Company
from adept_llm.training.run_folder import LOCK_FILE

TIMED = ("per_second", "seconds", "memory")


@pytest.fixture
def plan_in(yes_no_rows):
    """A plan whose runs lie in a folder."""

    def make(folder, **more):
        arguments = {
            "model_name_or_path": str(MODEL), "max_steps": 4, "max_length": 48,
            "save_strategy": "no", "train_file": str(yes_no_rows / "train.jsonl"),
            "test_file": str(yes_no_rows / "test.jsonl"), "report_to": "none", "use_cpu": True,
            "validation_file": str(yes_no_rows / "validation.jsonl"), "num_virtual_tokens": 3,
            "bottleneck_size": 2, "disable_tqdm": True, "per_device_train_batch_size": 4,
        }  # fmt: skip
        given = {
            "output_dir": str(folder), "search": {"learning_rate": [0.1, 0.3, 0.03]}, "rungs": [2],
            "seeds": [1, 2], "final": {"do_predict": True},
            "arguments": arguments | more.pop("arguments", {}),
        }  # fmt: skip
        return SweepPlan(**given | more)

    return make


def alone(runs):
    for run in runs:
        run.prepare()
        assert main(["train", *run.arguments()]) == 0


def at_once(runs):
    for run in runs:
        run.prepare()
    assert train_together.main([str(run.folder) for run in runs]) == 0


def results_of(run):
    """All but what has to do with time."""
    return {k: v for k, v in run.results().items() if not any(part in k for part in TIMED)}


def test_a_sweep_comes_to_the_same(plan_in, tmp_path):
    """Choice, numbers, files."""
    one = sweep(plan_in(tmp_path / "alone"), alone)
    other = sweep(plan_in(tmp_path / "at_once"), at_once)
    assert other.found == one.found
    for run, its in zip((*other.searched, *other.final), (*one.searched, *one.final), strict=True):
        found, expected = results_of(run), results_of(its)
        assert found.pop("stopped") is expected.pop("stopped") is None
        for name in ("before", "after", "test"):
            assert found.pop(name) == pytest.approx(expected.pop(name), rel=1e-5)
        assert found == pytest.approx(expected, rel=1e-5)
        names = {path.name for path in run.folder.iterdir()}
        assert names == {path.name for path in its.folder.iterdir()} | {OUTPUT_FILE}
        command = json.loads((run.folder / "run.json").read_text())["command"]
        assert command[1:] == ["train", *run.words, "--output_dir", str(run.folder), *command[-4:]]
    files = [(each.final[0].folder / "predictions.jsonl").read_text() for each in (one, other)]
    answers = [[json.loads(line) for line in text.splitlines()] for text in files]
    for its, expected in zip(*answers, strict=True):
        assert its.pop("scores") == pytest.approx(expected.pop("scores"), rel=1e-5)
        assert its.pop("loss") == pytest.approx(expected.pop("loss"), rel=1e-5)
        assert its == expected


def test_processes_of_several_runs(plan_in, tmp_path):
    """One that refuses its arguments says so in its own folder, and its company goes on."""
    plan = plan_in(tmp_path, search={"max_train_samples": [8, 16, 99]}, seeds=[])
    runs = [Run.of(plan, one, 0, {}, "search") for one in plan.grid()]
    runs[1] = Run(runs[1].folder, (*runs[1].words, "--warmup_steps", "9"), "train")
    LocalLauncher(concurrent=3)(runs)
    told = [(run.folder / OUTPUT_FILE).read_text() for run in runs]
    assert [text.count("mean training loss") for text in told] == [1, 0, 1]
    assert [text.count("8 rows") for text in told] == [1, 0, 0]
    assert runs[1].failed() and runs[1].error().startswith("warmup_steps: 9 of 4 steps")
    assert runs[0].results() and runs[2].results()


def test_runs_are_dealt_out(plan_in, tmp_path):
    """Those of another program stay alone."""
    plan = plan_in(tmp_path)
    runs = [Run.of(plan, {}, seed, {}, "one") for seed in range(5)]
    others = [Run(runs[0].folder, (), "other.py")]
    assert groups([*runs, *others], 2) == [runs[:2], runs[2:4], runs[4:], others]
    assert groups(runs, 1) == [[run] for run in runs]


def test_a_signal_stops_all_and_the_same_command_goes_on(plan_in, tmp_path, monkeypatch):
    """Behind a checkpoint each, from which the losses are those of runs that were not stopped."""
    plan = plan_in(tmp_path)
    runs = [Run.of(plan, one, 0, {}, "search") for one in plan.grid()[:2]]
    others = [Run.of(plan, one, 0, {}, "whole") for one in plan.grid()[:2]]
    at_once(others)
    answer, calls = Company.answer, []

    def interrupted(self, asked):
        calls.append(len(asked))
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return answer(self, asked)

    monkeypatch.setattr(Company, "answer", interrupted)
    before = signal.getsignal(signal.SIGTERM)
    for run in runs:
        run.prepare()
    assert train_together.main([str(run.folder) for run in runs]) == 75 and calls == [2, 2]
    assert signal.getsignal(signal.SIGTERM) is before
    assert all((run.folder / "checkpoint-2").is_dir() and not run.results() for run in runs)
    assert all("auto" in run.arguments() for run in runs)
    at_once(runs)
    for run, other in zip(runs, others, strict=True):
        assert run.results()["after"] == pytest.approx(other.results()["after"], rel=1e-6)
        assert run.results()["steps"] == 4


def test_a_signal_before_the_first_step_leaves_nothing(plan_in, tmp_path, monkeypatch):
    """While the base is read, say: runs that have not begun do not begin."""
    runs = [Run.of(plan_in(tmp_path), {}, seed, {}, "one") for seed in (1, 2)]
    load = Company.load

    def interrupted(self, *given):
        os.kill(os.getpid(), signal.SIGINT)
        return load(self, *given)

    monkeypatch.setattr(Company, "load", interrupted)
    for run in runs:
        run.prepare()
    assert train_together.main([str(run.folder) for run in runs]) == 75
    assert not list(tmp_path.rglob("checkpoint-*")) and not list(tmp_path.rglob("run.json"))


REFUSED = [
    ([{"bottleneck_dropout": 0.1}], "runs with --bottleneck_dropout 0.1 train alone"),
    ([{"packing": "padded"}], "runs with --packing padded train alone"),
    ([{"report_to": "wandb"}], "wandb takes one run of a process"),
    ([{}, {"dtype": "bfloat16"}], "share dtype, and here are auto and bfloat16"),
    ([{}, {"quantization": "nf4"}], "share quantization"),
    ([{}, {"gradient_checkpointing": True}], "share gradient_checkpointing"),
    ([{}, {"full_determinism": True}], "share full_determinism"),
]


@pytest.mark.parametrize(("several", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_runs_at_once_cannot_have_is_refused(several, said, plan_in, tmp_path):
    plans = [plan_in(tmp_path, arguments=one) for one in several]
    runs = [Run.of(plan, {}, 0, {}, "one") for plan in plans]
    with pytest.raises(InputError, match=f"^concurrent: .*{said}"):
        check_alike([parse(KINDS, run.arguments(), settle) for run in runs])


def test_a_base_that_cannot_be_packed_is_refused_in_each_folder(plan_in, tmp_path, monkeypatch):
    monkeypatch.setattr(train_together, "why_padded", lambda *_: "gemma2 soft-caps its attention")
    monkeypatch.setattr(Company, "load", lambda *_: pytest.fail("was read"))
    runs = [Run.of(plan_in(tmp_path), {}, seed, {}, "one") for seed in (1, 2)]
    told = []
    monkeypatch.setattr(train_together, "redirected", lambda path: told.append(path) or [])
    for run in runs:
        run.prepare()
    assert train_together.main([str(run.folder) for run in runs]) == 2
    assert told == [run.folder / OUTPUT_FILE for run in runs]


def test_several_rows_that_do_not_fit_are_refused_before_the_weights(plan_in, tmp_path):
    """The weights count once."""
    run = Run.of(plan_in(tmp_path), {}, 0, {}, "one")
    parsed = parse(KINDS, run.arguments(), settle)
    check_company([parsed] * 4)
    one = Needs(10**6, 100, weights=8 * GIB, adapter=0, activations=10**9)
    check_memory([one] * 2, False)
    with pytest.raises(InputError, match=r"^memory: 4096 runs in one row need about .*\(weights 8"):
        check_memory([one] * 4096, False)


def test_what_breaks_the_pass_in_common_is_told_by_each(plan_in, tmp_path, monkeypatch, capsys):
    """With its trace, where a run's words go; and the folders are free again."""

    def broken(self, asked):
        raise RuntimeError("CUBLAS_STATUS_ALLOC_FAILED")

    monkeypatch.setattr(Company, "answer", broken)
    runs = [Run.of(plan_in(tmp_path), {}, seed, {}, "one") for seed in (1, 2)]
    for run in runs:
        run.prepare()
    assert train_together.main([str(run.folder) for run in runs]) == 1
    told = capsys.readouterr().err
    assert told.count("RuntimeError: in the pass in common: CUBLAS_STATUS_ALLOC_FAILED\n") == 2
    assert not any((run.folder / LOCK_FILE).exists() for run in runs)


def test_a_base_that_does_not_fit_is_told_in_a_line(plan_in, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(train_together, "load_model", full)
    run = Run.of(plan_in(tmp_path), {}, 1, {}, "one")
    run.prepare()
    assert train_together.main([str(run.folder)]) == 2
    assert capsys.readouterr().err.endswith(
        "error: memory: full while the base is read; --quantization nf4 makes it smaller\n"
    )


def test_the_sweep_refuses_before_a_run_is_started(plan_in, tmp_path, capsys):
    plan = plan_in(tmp_path / "out", search={"dtype": ["auto", "bfloat16"]}, rungs=[])
    file = tmp_path / "plan.json"
    content = {k: v for k, v in vars(plan).items() if k in ("search", "arguments", "output_dir")}
    file.write_text(json.dumps(content))
    for words, said in [
        (["--concurrent", "2"], "runs on one base share dtype"),
        (["--concurrent", "0"], "0 trains none"),
        (["--concurrent", "2", "--slurm=--time=1"], "an array has a task for each run"),
    ]:
        assert main(["sweep", str(file), *words]) == 2
        assert said in capsys.readouterr().err
    file.write_text(json.dumps(content | {"program": "other.py"}))
    assert main(["sweep", str(file), "--concurrent", "2"]) == 2
    assert "goes with 'program: train'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert launcher(2, None, 3) == LocalLauncher(("", ""), 3)
