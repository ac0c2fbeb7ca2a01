"""What `make demo` promises of ADePT, on fewer test rows."""

from pathlib import Path

import pytest

from adept_llm.adapters import inject_adapter
from adept_llm.base.loading import load_model, load_tokenizer
from adept_llm.cli.main import main as adept_llm
from adept_llm.data import Encoder
from adept_llm.demo import MODEL, real
from adept_llm.demo import __main__ as demo
from adept_llm.demo.__main__ import MAX_LENGTH, METHODS, arguments, read, write_rows
from adept_llm.demo.world import LABELS
from adept_llm.evaluation.answers import AnswerMeasure
from adept_llm.packing import make_batcher
from adept_llm.training.run import run


def test_adept_learns_the_demo_task_from_chance(tmp_path):
    write_rows(tmp_path)
    encoder = Encoder(load_tokenizer(str(MODEL)), "plain", MAX_LENGTH)
    labels = tuple(f"\n{word}" for word in LABELS.values())
    train, _ = encoder.encode_all(read(tmp_path / "train.jsonl", labels))
    config, prompt_rate, offset_rate = METHODS["adept"]
    model = inject_adapter(load_model(str(MODEL)), config)
    batcher = make_batcher(model, "shared_prefix", MAX_LENGTH)
    measure = AnswerMeasure.of(encoder, read(tmp_path / "test.jsonl", labels)[:200], batch_size=100)
    _, result = run(
        model, arguments(tmp_path / "out", prompt_rate, offset_rate), train, batcher, measure
    )
    assert result.before["accuracy"] <= 0.6
    assert result.after["accuracy"] >= 0.85


@pytest.mark.parametrize(
    ("program", "name"),
    [(demo.main, "adept_llm.demo"), (real.main, "adept_llm.demo.real")],
)
def test_its_help_tells_how_it_is_started(program, name, monkeypatch, capsys):
    """It called itself __main__.py."""
    monkeypatch.setattr("sys.argv", ["__main__.py", "--help"])
    with pytest.raises(SystemExit):
        program()
    assert capsys.readouterr().out.startswith(f"usage: python -m {name} [-h]")


def test_its_recipe_runs_where_there_is_no_checkout(tmp_path, monkeypatch, capsys):
    """It named a folder of the repository, which an installed package has elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["demo", "--output_dir", "runs/demo"])
    monkeypatch.setattr(demo, "METHODS", {"adept": demo.METHODS["adept"]})
    monkeypatch.setattr(demo, "STEPS", 1)
    demo.main()
    recipe = Path(__file__).parents[2] / "recipes" / "demo.yaml"
    assert adept_llm(["train", str(recipe), "--dry_run"]) == 0
    assert "rows to train on" in capsys.readouterr().out
