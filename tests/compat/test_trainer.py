"""Trainer's private hooks and flags: the installed transformers still has and calls each."""

import inspect
import sys
from contextlib import contextmanager

import pytest
import torch
from accelerate import Accelerator
from transformers import EarlyStoppingCallback, Trainer, TrainingArguments

from adept_llm.adapters import get_adapter
from adept_llm.compat.trainer import HookedTrainer
from tests.builders import small_model
from tests.training.runs import trainer_of

HOOKS = {
    "_prepare_for_training",
    "_load_from_checkpoint",
    "_load_rng_state",
    "_load_best_model",
    "_save_checkpoint",
    "_determine_best_metric",
    "_init_training_state",
    "_load_callback_state",
    "_run_epoch",
    "_finalize_training",
}


@pytest.fixture(scope="module")
def called(tmp_path_factory):
    """Names of the hooks that stock code called in a run of two steps and its continuation."""
    seen = set()

    def recording(name):
        own = getattr(HookedTrainer, name)

        def record(self, *args, **kwargs):
            if sys._getframe(1).f_globals["__name__"] == "transformers.trainer":
                seen.add(name)
            return own(self, *args, **kwargs)

        return record

    folder = tmp_path_factory.mktemp("run")
    settings = {
        "eval_strategy": "steps", "eval_steps": 1, "load_best_model_at_end": True,
        "metric_for_best_model": "accuracy",
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name in HOOKS:
            patch.setattr(HookedTrainer, name, recording(name))
        for steps, resume in ((2, None), (3, "auto")):
            trainer = trainer_of(folder, lambda *_: {"accuracy": 0.5}, max_steps=steps, **settings)
            trainer.train(resume_from_checkpoint=resume)
    return seen


@pytest.mark.parametrize("name", sorted(HOOKS))
def test_stock_trainer_calls_the_hook(called, name):
    """A hook that is no longer called would leave stock checkpoints and no word of it."""
    assert name in called


def test_the_hooks_are_all_that_is_private():
    overridden = {
        name
        for name in vars(HookedTrainer)
        if name.startswith("_") and not name.startswith("__") and name != "_abc_impl"
    }
    assert overridden == HOOKS


@pytest.mark.parametrize("name", sorted(HOOKS))
def test_the_hook_takes_what_stock_trainer_hands_over(name):
    own, stock = (
        list(inspect.signature(getattr(kind, name)).parameters) for kind in (HookedTrainer, Trainer)
    )
    assert own == stock


def test_our_names_are_not_trainers():
    """A new version that brings a method of one of these names would call ours."""
    ours = [name for name in vars(HookedTrainer) if not name.startswith("_")]
    assert "restore" in ours
    assert [name for name in ours if hasattr(Trainer, name)] == []


def test_stock_trainer_still_sets_what_is_read_and_overwritten(tmp_path):
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    stock = Trainer(small_model("llama"), args)
    names = {"model_accepts_loss_kwargs", "_loss_shifts_labels", "_train_batch_size"}
    assert names <= vars(stock).keys()
    # a Llama's own loss shifts; ours does not, and says so
    assert stock._loss_shifts_labels is True
    assert hasattr(stock.accelerator, "scaler")


def one_step(folder, monkeypatch, **flags):
    """One step of two micro-batches: (targets, Trainer's count, our loss, what was derived)."""
    trainer = trainer_of(
        folder,
        max_steps=1,
        save_strategy="no",
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
    )
    for name, value in flags.items():
        setattr(trainer, name, value)
    targets, counted, losses, derived = [], [], [], []
    compute, backward = trainer.compute_loss, torch.Tensor.backward

    def compute_loss(model, inputs, return_outputs=False, num_items_in_batch=None):
        targets.append((inputs["labels"] != -100).sum().item())
        counted.append(num_items_in_batch)
        loss = compute(model, inputs, return_outputs, num_items_in_batch)
        losses.append(loss.item())
        return loss

    def record(self, *args, **kwargs):
        derived.append(self.item())
        return backward(self, *args, **kwargs)

    monkeypatch.setattr(trainer, "compute_loss", compute_loss)
    monkeypatch.setattr(torch.Tensor, "backward", record)
    trainer.train()
    assert len(targets) == 2
    return sum(targets), counted, losses, derived


def test_while_more_is_to_come_nothing_steps_and_ranks_do_not_meet(tmp_path, monkeypatch):
    """What Accelerator.backward asks before it steps DeepSpeed; afterwards it is what it was."""
    trainer, apart = trainer_of(tmp_path), []
    state = trainer.accelerator.gradient_state

    @contextmanager
    def no_sync(model):
        apart.append(model)
        yield
        apart.append("met")

    monkeypatch.setattr(trainer.accelerator, "no_sync", no_sync)
    for before in (True, False):
        state._set_sync_gradients(before)
        with trainer.more_to_come("model"):
            assert trainer.accelerator.sync_gradients is False and apart.pop() == "model"
        assert trainer.accelerator.sync_gradients is before and apart.pop() == "met"
        with pytest.raises(MemoryError), trainer.more_to_come("model"):
            raise MemoryError
        assert state.sync_gradients is before
        apart.clear()
    assert "sync_gradients=self.sync_gradients" in inspect.getsource(Accelerator.backward)
    state._set_sync_gradients(True)  # shared by all accelerators


def test_the_loss_is_divided_once_and_by_all_targets(tmp_path, monkeypatch):
    targets, counted, losses, derived = one_step(tmp_path, monkeypatch)
    assert counted == [targets, targets]
    assert derived == pytest.approx(losses)


def test_without_the_flags_it_would_be_divided_again_and_by_fewer(tmp_path, monkeypatch):
    """So the flags are needed, and still mean what they did."""
    _, counted, losses, derived = one_step(tmp_path, monkeypatch, model_accepts_loss_kwargs=False)
    assert counted == [None, None]
    assert derived == pytest.approx([loss / 2 for loss in losses])
    monkeypatch.undo()
    targets, counted, *_ = one_step(tmp_path, monkeypatch, _loss_shifts_labels=True)
    assert counted[0] < targets


def test_the_optimizer_lies_under_accelerates_wrapper(tmp_path):
    trainer = trainer_of(tmp_path, max_steps=1, save_strategy="no")
    trainer.train()
    trained = get_adapter(trainer.model).trained_parameters().values()
    assert type(trainer.inner_optimizer) is torch.optim.AdamW
    assert trainer.optimizer is not trainer.inner_optimizer
    assert {id(p) for p in trainer.inner_optimizer.state} == {id(p) for p in trained}


def test_early_stopping_goes_on_counting_after_a_restart(tmp_path):
    def counted(steps, scores, resume=None):
        measured = iter(scores)
        trainer = trainer_of(
            tmp_path, lambda *_: {"accuracy": next(measured)}, [EarlyStoppingCallback(9)],
            max_steps=steps, eval_strategy="steps", eval_steps=1, load_best_model_at_end=True,
            metric_for_best_model="accuracy",
        )  # fmt: skip
        trainer.train(resume_from_checkpoint=resume)
        state = trainer.progress()["stateful_callbacks"]["EarlyStoppingCallback"]
        return state["attributes"]["early_stopping_patience_counter"]

    assert counted(2, [0.9, 0.5]) == 1
    assert counted(3, [0.4], "auto") == 2
