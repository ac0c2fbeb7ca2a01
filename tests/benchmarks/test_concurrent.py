"""Several adapters trained in one packed row learn what each learns in a run of its own."""

from argparse import Namespace

import torch

from adept_llm.demo import MODEL
from benchmarks.concurrent import check


def test_losses_are_those_of_separate_runs(monkeypatch):
    """A text that saw another's prompt, or a rate of another's, would show after a step."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # as `hide_gpus` leaves it
    found = check(
        Namespace(model=str(MODEL), dtype="float32", quantization="none", counts=[3], steps=4)
    )
    assert found["largest_relative_difference"] < 1e-5
    first, last = found["first_losses"], found["last_losses"]
    assert len({round(loss, 3) for loss in first}) == 3, "else adapters could be mixed up"
    assert all(abs(a - b) > 0.01 for a, b in zip(first, last, strict=True)), "all have learnt"
