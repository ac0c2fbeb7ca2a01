"""How a run ends: saved before anything that may take long, and complete only once."""

import json
import os
import signal

import pytest

from adept_llm.cli.main import main
from adept_llm.demo import MODEL
from adept_llm.demo.world import examples
from adept_llm.evaluation.answers import AnswerMeasure
from adept_llm.training.log_file import read_losses
from adept_llm.training.run import run
from adept_llm.training.signals import SIGNALS, STOPPED
from tests.training.runs import EXAMPLES, trainer_of

ADAPTER = "adapter_model.safetensors"


@pytest.fixture
def job(tmp_path):
    """Arguments of a run of three steps, with a validation file."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in examples(0, 40, "train")))
    argv = [
        "train", "--model_name_or_path", MODEL, "--train_file", rows, "--validation_file", rows,
        "--max_steps", "3", "--per_device_train_batch_size", "8", "--num_virtual_tokens", "5",
        "--max_length", "64", "--report_to", "none", "--use_cpu", "true", "--disable_tqdm", "true",
        "--save_strategy", "no", "--output_dir", tmp_path / "out",
    ]  # fmt: skip
    return [*map(str, argv)], tmp_path / "out"


def signal_at_call(monkeypatch, number, which):
    """Send this process a signal when something is measured for the so-manieth time."""
    calls = []
    measure = AnswerMeasure.__call__

    def measured(self, model, batcher):
        calls.append(0)
        if len(calls) == number:
            os.kill(os.getpid(), which)
        return measure(self, model, batcher)

    for name in ("__call__", "at_end"):
        monkeypatch.setattr(AnswerMeasure, name, measured)


def test_a_signal_in_the_final_evaluation_loses_nothing(job, monkeypatch, capsys):
    """What is resumed then is evaluated, and not trained a step further, once or twice."""
    argv, out = job
    before = [signal.getsignal(number) for number in SIGNALS]
    with monkeypatch.context() as patch:
        signal_at_call(patch, 2, signal.SIGTERM)
        assert main(argv) == STOPPED
        assert "stopped by SIGTERM at step 3" in capsys.readouterr().out
    assert not (out / "run.json").exists() and (out / "checkpoint-3").is_dir()
    adapter, losses = (out / ADAPTER).read_bytes(), read_losses(out)
    assert sorted(losses) == [1, 2, 3]
    with monkeypatch.context() as patch:  # and once more, by another signal
        signal_at_call(patch, 1, signal.SIGINT)
        assert main([*argv, "--resume_from_checkpoint", "auto"]) == STOPPED
    log = (out / "log.jsonl").read_text()
    assert main([*argv, "--resume_from_checkpoint", "auto"]) == 0
    result = json.loads((out / "run.json").read_text())["results"]
    assert result["steps"] == 3 and "accuracy" in result["after"] and "accuracy" in result["before"]
    assert result["loss"] == pytest.approx(sum(losses.values()) / 3)
    assert (out / ADAPTER).read_bytes() == adapter
    assert (out / "log.jsonl").read_text() == log
    assert [signal.getsignal(number) for number in SIGNALS] == before
    # a finished run is left as it is
    record = (out / "run.json").read_bytes()
    assert main([*argv, "--resume_from_checkpoint", "auto"]) == 0
    assert "finished before, with 3 steps" in capsys.readouterr().out
    assert (out / "run.json").read_bytes() == record and not (out / ".lock").exists()


def test_a_signal_before_the_first_step_ends_the_run_at_once(job, monkeypatch, capsys):
    argv, out = job
    signal_at_call(monkeypatch, 1, signal.SIGINT)
    assert main(argv) == STOPPED
    captured = capsys.readouterr()
    assert "stopped by SIGINT before the first step" in captured.out
    assert "Traceback" not in captured.out + captured.err
    assert not list(out.glob("checkpoint-*")) and not (out / ADAPTER).exists()


class Scripted:
    """A measure that pretends; the scores go on where the run before left them."""

    main_metric, greater_is_better = "accuracy", True
    metrics = ("accuracy",)

    def __init__(self, scores, stop_at=None):
        self.scores, self.stop_at = iter(scores), stop_at
        self.calls = 0

    def __call__(self, model, batcher):
        self.calls += 1
        if self.calls == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return {"accuracy": next(self.scores)}

    at_end = __call__


def stopped_early(folder, measure, **changes):
    made = trainer_of(
        folder, measure, max_steps=12, eval_strategy="steps", eval_steps=1, save_steps=1,
        load_best_model_at_end=True, **{"early_stopping_patience": 3, **changes},
    )  # fmt: skip
    return run(made.model, made.args, EXAMPLES, made.batcher, measure)


def test_patience_and_the_best_metric_outlive_a_stop_in_an_evaluation(tmp_path, caplog):
    """By themselves: 24 steps instead of 15. The evaluation that was broken off is made up for."""
    # before training, then behind each step: the best is step 2, and three are no better
    scores = [0.1, 0.5, 0.9, 0.8, 0.7, 0.6, 0.5]
    quiet, whole = stopped_early(tmp_path / "whole", Scripted([*scores, 0.9]))
    assert whole.steps == 5 and whole.stopped is None
    measure = Scripted([*scores, 0.9], stop_at=5)  # that of step 4
    _, part = stopped_early(tmp_path / "part", measure)
    assert (part.steps, part.stopped) == (4, "SIGTERM")
    trainer, resumed = stopped_early(tmp_path / "part", measure, resume_from_checkpoint="auto")
    assert (resumed.steps, resumed.stopped) == (5, None)
    assert trainer.state.best_metric == 0.9 and trainer.state.best_global_step == 2
    ends = [(tmp_path / name / ADAPTER).read_bytes() for name in ("whole", "part")]
    assert ends[0] == ends[1]
    # complete: nothing is trained, and the patience may be raised
    _, again = stopped_early(tmp_path / "part", Scripted([0.9]), resume_from_checkpoint="auto")
    assert again.steps == 5 and again.seconds == resumed.seconds
    assert "ended by early stopping; raise --early_stopping_patience to train on" in caplog.text
    caplog.clear()
    changes = {"resume_from_checkpoint": "auto", "early_stopping_patience": 4}
    _, more = stopped_early(tmp_path / "part", Scripted([0.4, 0.9]), **changes)
    assert more.steps == 6 and "early stopping" not in caplog.text


def test_loss_and_seconds_are_those_of_all_starts(tmp_path):
    """Of the last start alone, a run that was stopped late would have cost next to nothing."""

    def trained(steps, **changes):
        made = trainer_of(tmp_path, max_steps=steps, warmup_steps=2, **changes)
        return run(made.model, made.args, EXAMPLES, made.batcher)[1]

    part = trained(6)
    whole = trained(8, resume_from_checkpoint="auto")
    losses = read_losses(tmp_path)
    assert sorted(losses) == [*range(1, 9)]
    assert whole.loss == pytest.approx(sum(losses.values()) / 8)
    assert whole.seconds > part.seconds > 0
    # complete: nothing is trained, and what a killed start logged beyond is not counted
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 9, "loss": 1000.0}\n')
    again = trained(8, resume_from_checkpoint="auto")
    assert (again.loss, again.seconds) == (whole.loss, whole.seconds)


def test_a_run_that_goes_on_may_take_up_evaluation(tmp_path):
    """Its log has no numbers of the start, which were looked at for the metric's name."""
    made = trainer_of(tmp_path, max_steps=2, warmup_steps=2)
    run(made.model, made.args, EXAMPLES, made.batcher)
    measure = Scripted([0.1, 0.9, 0.2, 0.3, 0.4, 0.9])
    changes = {"resume_from_checkpoint": "auto", "metric_for_best_model": "accuracy"}
    trainer, result = stopped_early(tmp_path, measure, **changes)
    assert result.before == {} and trainer.state.best_global_step == 4
