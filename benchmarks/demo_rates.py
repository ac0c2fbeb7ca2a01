"""Rates of the demo's three methods, searched alike: python -m benchmarks.demo_rates.

Nine settings each, on the demo's validation rows; the demo uses the best of each.
"""

import json
import tempfile
from pathlib import Path

import torch
from transformers.utils import logging

from adept_llm.adapters import inject_adapter
from adept_llm.base.loading import load_model, load_tokenizer
from adept_llm.data import Encoder
from adept_llm.demo import MODEL
from adept_llm.demo.__main__ import MAX_LENGTH, METHODS, arguments, read, write_rows
from adept_llm.demo.world import LABELS
from adept_llm.evaluation.answers import AnswerMeasure
from adept_llm.packing import make_batcher
from adept_llm.training.run import run

GRIDS = {
    "adept": [(p, o) for p in (0.03, 0.1, 1.0) for o in (0.003, 0.01, 0.03)],
    "prompt_tuning": [(p, 0.0) for p in (0.01, 0.03, 0.1, 0.3, 0.5, 1.0, 2.0, 3.0, 10.0)],
    "dept": [(p, o) for p in (0.1, 1.0, 3.0) for o in (0.003, 0.01, 0.03)],
}


def main() -> None:
    """Print one JSON line for each run, best runs last."""
    torch.set_num_threads(1)  # as the demo
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    encoder = Encoder(load_tokenizer(str(MODEL)), "plain", MAX_LENGTH)
    labels = tuple(f"\n{word}" for word in LABELS.values())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(folder)
        train, _ = encoder.encode_all(read(folder / "train.jsonl", labels))
        measure = AnswerMeasure.of(
            encoder, read(folder / "validation.jsonl", labels), batch_size=100
        )
        found = []
        for method, grid in GRIDS.items():
            for rates in grid:
                model = inject_adapter(load_model(str(MODEL)), METHODS[method][0])
                batcher = make_batcher(model, "shared_prefix", MAX_LENGTH)
                _, result = run(model, arguments(folder, *rates), train, batcher, measure)
                found.append((method, *rates, result.after["accuracy"], result.loss))
                print(json.dumps(found[-1]), flush=True)
    for method in GRIDS:
        # between equal accuracies the lower loss
        best = max((f for f in found if f[0] == method), key=lambda f: (f[3], -f[4]))
        names = ("best", "learning_rate", "offset_learning_rate", "accuracy", "loss")
        print(json.dumps(dict(zip(names, best, strict=True))))


if __name__ == "__main__":
    main()
