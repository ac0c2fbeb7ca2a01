"""A run that goes on in another folder, or whose folder was moved, has its own best checkpoint."""

import shutil

import torch

from adept_llm.adapters import get_adapter, read_adapter
from tests.training.runs import trainer_of


def train(folder, scores, resume=None, **changes):
    measured = iter(scores)
    trainer = trainer_of(
        folder, lambda *_: {"accuracy": next(measured)}, eval_strategy="steps", eval_steps=1,
        load_best_model_at_end=True, metric_for_best_model="accuracy", warmup_steps=1, **changes,
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def is_from(trainer, checkpoint):
    """Whether the trainer ended with a checkpoint's adapter, and names it as the best."""
    best, values = read_adapter(checkpoint)[2], get_adapter(trainer.model).trained_parameters()
    same = all(torch.equal(best[name], values[name]) for name in best)
    return same and trainer.state.best_model_checkpoint == str(checkpoint)


def test_the_best_is_never_another_runs_of_the_same_step(tmp_path):
    """It would be saved as the final adapter, of a seed and data that the run never saw."""
    train(tmp_path / "first", [0.1, 0.9, 0.2], max_steps=3)
    train(tmp_path / "third", [0.1, 0.9], max_steps=2, seed=6)
    resume = str(tmp_path / "first" / "checkpoint-3")
    trainer = train(tmp_path / "third", [0.3], resume, max_steps=4)
    assert is_from(trainer, tmp_path / "first" / "checkpoint-2")


def test_the_best_of_a_moved_folder_is_found_there(tmp_path):
    train(tmp_path / "before", [0.1, 0.9, 0.2], max_steps=3)
    shutil.move(tmp_path / "before", tmp_path / "after")
    trainer = train(tmp_path / "after", [0.3], "auto", max_steps=4)
    assert is_from(trainer, tmp_path / "after" / "checkpoint-2")
