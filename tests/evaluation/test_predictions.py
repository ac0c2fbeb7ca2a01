"""What is kept of answers: scores that mean something."""

import json

import pytest
import torch

from adept_llm import AdeptConfig, inject_adapter, load_adapters, save_adapter
from adept_llm.base.loading import load_model
from adept_llm.cli.main import main
from adept_llm.data import Example
from adept_llm.demo import MODEL
from adept_llm.errors import InputError
from adept_llm.evaluation.predictions import finite


@pytest.mark.parametrize("bad", [torch.nan, -torch.inf])
def test_scores_that_are_not_finite_are_refused(bad):
    one = Example("", "x", "a", id="rows.jsonl:3", labels=("a", "b"))
    assert finite(torch.tensor([-1.0, -2.0]), one) == [-1.0, -2.0]
    with pytest.raises(InputError, match="^loss: not finite on rows.jsonl:3; "):
        finite(torch.tensor([-1.0, bad]), one)


@pytest.mark.parametrize("labels", [True, False])
def test_a_model_that_overflows_is_not_measured(tmp_path, capsys, monkeypatch, labels):
    """It would have an accuracy: that of always answering the first label."""

    def load(*given, **options):
        model = load_adapters(*given, **options)
        with torch.no_grad():
            model.model.norm.weight.fill_(torch.nan)  # as of a base in float16
        return model

    monkeypatch.setattr("adept_llm.together.load_adapters", load)
    model = inject_adapter(load_model(str(MODEL)), AdeptConfig("adept", 2, 2))
    save_adapter(model, tmp_path / "adapter")
    rows = [{"prompt": f"{i} is", "completion": "yes" if i % 2 else "no"} for i in range(6)]
    if not labels:
        rows = [one | {"completion": f"number {i}"} for i, one in enumerate(rows)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    argv = ["evaluate", "--adapter", tmp_path / "adapter", "--file", tmp_path / "rows.jsonl"]
    capsys.readouterr()
    assert main([*map(str, argv)]) == 2
    assert capsys.readouterr().err.startswith("error: loss: not finite on rows.jsonl:1; ")
