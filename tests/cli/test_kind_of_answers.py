"""What train says of the answers of own rows, and what it measures of them."""

import json

import pytest

from adept_llm.cli.main import main
from adept_llm.demo import MODEL


def train(capsys, tmp_path, answers, *more, validation=False):
    """Exit code, standard output and standard error of a run of two steps."""
    path = tmp_path / "train.jsonl"
    rows = [{"prompt": f"{n} is", "completion": answer} for n, answer in enumerate(answers)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    argv = [
        "train", "--model_name_or_path", MODEL, "--train_file", path, "--max_steps", "2",
        "--output_dir", tmp_path / "out", "--max_length", "64", "--report_to", "none",
        "--save_strategy", "no", "--use_cpu", "true", "--disable_tqdm", "true",
        "--warmup_steps", "0", *(["--validation_file", path] if validation else []), *more,
    ]  # fmt: skip
    code = main([*map(str, argv)])
    return code, *capsys.readouterr()


def test_train_says_what_the_answers_are_taken_for(capsys, tmp_path):
    code, out, _ = train(capsys, tmp_path, ["good"] * 19 + ["bad"] * 20)
    assert code == 0 and "answers: 2 labels: bad 20, good 19\n" in out


def test_labels_of_several_spellings_are_refused_before_the_model_is_read(
    capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr("adept_llm.cli.train.load_model", lambda *_: pytest.fail("was read"))
    code, _, err = train(capsys, tmp_path, ["good"] * 19 + ["bad"] * 20 + ["Good"])
    assert code == 2 and err.count("\n") == 1
    assert "2 labels: bad 20, good 19; 1 row 'Good' (train.jsonl:40)" in err
    assert not (tmp_path / "out").exists()


FREE = [f"the number {n} and more" for n in range(12)]


def test_free_text_without_validation_ends_with_the_training_loss(capsys, tmp_path):
    """Else the last table says nothing of what was learnt."""
    code, out, _ = train(capsys, tmp_path, FREE)
    result = json.loads((tmp_path / "out" / "run.json").read_text())["results"]
    logged = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").open()]
    losses = [entry["loss"] for entry in logged if "loss" in entry]
    assert code == 0 and len(losses) == 2
    row = next(line.split() for line in out.splitlines() if line.startswith("mean training loss"))
    assert float(row[-1]) == pytest.approx(sum(losses) / 2, abs=1e-3)
    assert result["loss"] == pytest.approx(float(row[-1]), abs=1e-4)
    lines = {line[:18].strip(): line[18:].strip() for line in out.splitlines()}
    assert float(lines["last training loss"]) == pytest.approx(losses[-1], abs=1e-4)
    assert result["last_loss"] == losses[-1]
    assert lines["data"] == f"{len(FREE)} rows, free text"


def test_free_text_with_validation_ends_with_loss_exact_match_and_f1(capsys, tmp_path, monkeypatch):
    """Generated at the end alone: during training the loss is measured, which is quick."""
    from adept_llm.evaluation.answers import AnswerMeasure

    calls, generate = [], AnswerMeasure._generate
    monkeypatch.setattr(
        AnswerMeasure, "_generate", lambda self, *rest: calls.append(1) or generate(self, *rest)
    )
    more = ["--eval_strategy", "steps", "--eval_steps", "1"]
    code, out, _ = train(capsys, tmp_path, FREE, *more, validation=True)
    assert code == 0 and len(calls) == 1
    result = json.loads((tmp_path / "out" / "run.json").read_text())["results"]
    assert list(result["before"]) == ["loss"]
    assert list(result["after"]) == ["loss", "exact_match", "token_f1"]
    assert all(f"{name} after" in out for name in result["after"])
    # what `evaluate` says of the same rows
    argv = ["evaluate", "--adapter", tmp_path / "out", "--file", tmp_path / "train.jsonl"]
    assert main([*map(str, argv)]) == 0
    assert f"token_f1 {result['after']['token_f1']:.4f}" in capsys.readouterr().out


def test_a_metric_that_is_not_measured_is_refused_before_the_model_is_read(
    capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr("adept_llm.cli.train.load_model", lambda *_: pytest.fail("was read"))
    more = ["--eval_strategy", "steps", "--eval_steps", "1", "--load_best_model_at_end", "true"]
    more += ["--save_strategy", "steps", "--save_steps", "1"]
    for answers, known in ((FREE, "loss"), (["good", "bad"] * 4, "accuracy")):
        more += ["--metric_for_best_model", "rouge"]
        code, _, err = train(capsys, tmp_path, answers, *more, validation=True)
        assert code == 2 and err.count("\n") == 1
        assert f"metric_for_best_model: 'rouge' is not measured; known: {known}" in err
        assert not (tmp_path / "out").exists()
