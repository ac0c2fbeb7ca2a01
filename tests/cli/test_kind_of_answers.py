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
