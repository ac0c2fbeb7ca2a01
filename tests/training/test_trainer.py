"""The Trainer subclass: rates, loss, checkpoints, best model; on the demo's tiny Llama."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from adept_llm import AdeptConfig, InputError, get_adapter, inject_adapter
from adept_llm.base.loading import load_model, load_tokenizer
from adept_llm.data import Encoder, Example
from adept_llm.demo import MODEL
from adept_llm.demo.world import examples
from adept_llm.evaluation.answers import AnswerMeasure
from adept_llm.evaluation.token_loss import TokenLoss
from adept_llm.packing import make_batcher
from adept_llm.training.arguments import AdeptTrainingArguments
from adept_llm.training.run import run
from adept_llm.training.trainer import AdeptTrainer
from tests.builders import record_of

LABELS = ("\nYes", "\nNo")


@pytest.fixture(scope="module")
def encoder():
    return Encoder(load_tokenizer(str(MODEL)), "plain", 64)


@pytest.fixture(scope="module")
def rows():
    return [
        Example("", f"{r['instruction']}\n{r['input']}", "\n" + r["output"], str(i), LABELS)
        for i, r in enumerate(examples(0, 96, "train"))
    ]


@pytest.fixture(scope="module")
def data(encoder, rows):
    return encoder.encode_all(rows)[0]


@pytest.fixture
def measure(encoder, rows):
    return AnswerMeasure.of(encoder, rows[:32], batch_size=16)


def arguments(tmp_path, **changes):
    given = {
        "output_dir": str(tmp_path), "max_steps": 6, "save_strategy": "no",
        "warmup_steps": min(2, changes.get("max_steps", 6)),
        "report_to": "none", "disable_tqdm": True, "use_cpu": True,
        "per_device_train_batch_size": 8,
    }  # fmt: skip
    return AdeptTrainingArguments(**{**given, **changes})


def injected(method="adept", m=5):
    rank = None if method == "prompt_tuning" else 4
    return inject_adapter(load_model(str(MODEL)), AdeptConfig(method, m, rank))


def train(tmp_path, data, packing="shared_prefix", measure=None, model=None, **changes):
    model = model or injected()
    batcher = make_batcher(model, packing, 64)
    trainer, result = run(model, arguments(tmp_path, **changes), data, batcher, measure)
    return trainer, result


def losses(trainer):
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_both_rates_follow_their_schedule_and_are_logged_each_step(tmp_path, data):
    trainer, _ = train(tmp_path, data, learning_rate=0.4, offset_learning_rate=0.02)
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    factors = [0.5, 1.0, 0.8, 0.6, 0.4, 0.2]  # used at each step: 2 up, 4 down, none is 0
    assert [e["learning_rate"] for e in log] == pytest.approx([0.4 * f for f in factors])
    assert [e["offset_learning_rate"] for e in log] == pytest.approx([0.02 * f for f in factors])
    assert all(e["tokens_per_second"] > 0 for e in log)


def test_rates_where_only_one_part_is_trained(tmp_path, data):
    prompt_only, _ = train(tmp_path, data, model=injected("prompt_tuning"), max_steps=1)
    assert "offset_learning_rate" not in prompt_only.state.log_history[0]
    offset_only, _ = train(tmp_path, data, model=injected(m=0), max_steps=2)
    entry = offset_only.state.log_history[0]
    assert entry["offset_learning_rate"] == pytest.approx(0.0015) and "learning_rate" not in entry


def test_loss_is_the_mean_over_the_target_tokens_of_the_global_batch(tmp_path, data):
    """INV 6: by accumulation, packing and by hand."""
    # targets of different lengths, or a mean of means would pass
    data = [e if i % 3 else type(e)(e.prompt_ids, e.target_ids * 3, e.id, 0, 0)
            for i, e in enumerate(data)]  # fmt: skip
    reference = losses(train(tmp_path, data)[0])
    for packing, batch, accumulation in [
        ("padded", 8, 1), ("shared_prefix", 2, 4), ("padded", 1, 8), ("shared_prefix", 4, 2),
    ]:  # fmt: skip
        trainer, _ = train(
            tmp_path, data, packing,
            per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation,
        )  # fmt: skip
        assert losses(trainer) == pytest.approx(reference, rel=2e-5), (packing, batch)


def test_first_loss_equals_the_stock_models_own(tmp_path, data):
    """m = 0 and W2 = 0: the adapted model is the base, whose loss Hugging Face computes."""
    model = injected(m=0)
    trainer, _ = train(tmp_path, data[:8], model=model, max_steps=1)
    base = load_model(str(MODEL))
    total = count = 0
    for e in data[:8]:
        ids = torch.tensor([e.prompt_ids + e.target_ids])
        labels = ids.clone()
        labels[:, : len(e.prompt_ids)] = -100
        total += base(ids, labels=labels).loss.item() * len(e.target_ids)
        count += len(e.target_ids)
    assert losses(trainer)[0] == pytest.approx(total / count, rel=1e-5)


def test_nothing_of_the_base_is_trained_or_saved(tmp_path, data):
    """INV 3, INV 4."""
    model = injected()
    before = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
    start = {n: p.clone() for n, p in get_adapter(model).trained_parameters().items()}
    trainer, _ = train(tmp_path, data, model=model, save_strategy="steps", save_steps=3)
    after = dict(model.named_parameters())
    assert all(torch.equal(after[n], p) for n, p in before.items())
    trained = get_adapter(model).trained_parameters()
    assert all(not torch.equal(trained[n], p) for n, p in start.items())
    assert all(p.dtype == torch.float32 for p in trained.values())
    stated = {id(p) for p in trainer.optimizer.state}
    assert stated <= {id(p) for p in trained.values()}
    folder = tmp_path / "checkpoint-6"
    assert load_file(folder / "adapter_model.safetensors").keys() == trained.keys()
    weights = sum(p.numel() for p in trained.values()) * 4
    assert sum(f.stat().st_size for f in folder.iterdir()) < 3 * weights + 40_000


def test_resumed_run_repeats_the_uninterrupted_one(tmp_path, data):
    whole = losses(train(tmp_path / "a", data)[0])
    train(tmp_path / "b", data, save_strategy="steps", save_steps=3)
    resumed, _ = train(
        tmp_path / "c", data, resume_from_checkpoint=str(tmp_path / "b" / "checkpoint-3")
    )
    assert losses(resumed) == whole[3:]  # those before are in log.jsonl, not in the checkpoint


def test_best_checkpoint_by_the_main_metric_and_early_stopping(tmp_path, data):
    class Scripted:
        """Pretends to reach its best at the second evaluation."""

        main_metric, greater_is_better = "accuracy", True
        metrics = ("accuracy",)

        def __call__(self, model, batcher):
            seen.append({n: p.clone() for n, p in get_adapter(model).trained_parameters().items()})
            script = [0.1, 0.2, 0.9, 0.5, 0.4, 0.3]
            return {"accuracy": script[min(len(seen) - 1, 5)]}

        at_end = __call__

    seen = []
    trainer, result = train(
        tmp_path, data, measure=Scripted(), eval_strategy="steps", eval_steps=1,
        save_strategy="steps", save_steps=1, save_total_limit=1, load_best_model_at_end=True,
        early_stopping_patience=2,
    )  # fmt: skip
    # seen[0] is measured before training, then one per step
    assert result.steps == 4 and trainer.state.best_metric == 0.9
    best = seen[2]
    now = get_adapter(trainer.model).trained_parameters()
    assert all(torch.equal(now[n], p) for n, p in best.items())
    kept = sorted(p.name for p in Path(tmp_path).glob("checkpoint-*"))
    assert "checkpoint-2" in kept and len(kept) <= 2
    state = json.loads((tmp_path / kept[-1] / "trainer_state.json").read_text())
    assert state["best_global_step"] == 2


def test_the_best_is_kept_though_it_lies_between_two_checkpoints(tmp_path, data):
    class Scripted:
        main_metric, greater_is_better = "accuracy", True
        metrics = ("accuracy",)

        def __call__(self, model, batcher):
            seen.append(0)
            return {"accuracy": [0.1, 0.2, 0.3, 0.9, 0.4, 0.3, 0.2, 0.9][len(seen) - 1]}

        at_end = __call__

    seen = []
    trainer, _ = train(
        tmp_path, data, measure=Scripted(), eval_strategy="steps", eval_steps=1,
        save_strategy="steps", save_steps=2, load_best_model_at_end=True,
    )  # fmt: skip
    assert trainer.state.best_metric == 0.9
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-3")


def test_a_metric_that_does_not_exist_is_refused_before_training(tmp_path, data, measure):
    with pytest.raises(InputError, match="f1.*accuracy"):
        train(
            tmp_path, data, measure=measure, eval_strategy="steps", eval_steps=1,
            save_strategy="steps", save_steps=1, load_best_model_at_end=True,
            metric_for_best_model="f1",
        )  # fmt: skip


def test_other_optimizers_keep_the_two_groups(tmp_path, data):
    model = injected()
    batcher = make_batcher(model, "shared_prefix", 64)
    args = arguments(tmp_path, optim="adafactor", max_steps=1)
    trainer = AdeptTrainer(model, args, data, batcher)
    trainer.train()
    assert len(trainer.optimizer.param_groups) == 2
    assert set(trainer.learning_rates()) == {"learning_rate", "offset_learning_rate"}


def test_weight_decay_acts_on_both_groups(tmp_path, data):
    """AdamW shrinks values by rate * decay beside its step; the gradients are the same."""
    ends = {}
    for decay in (0.0, 0.5):
        model = injected()
        start = {n: p.detach().clone() for n, p in get_adapter(model).trained_parameters().items()}
        trainer, _ = train(
            tmp_path, data, model=model, max_steps=1, warmup_steps=0, weight_decay=decay,
            learning_rate=0.1, offset_learning_rate=0.02,
        )  # fmt: skip
        assert [group["weight_decay"] for group in trainer.optimizer.param_groups] == [decay] * 2
        ends[decay] = {
            n: p.detach().clone() for n, p in get_adapter(model).trained_parameters().items()
        }
    shrunk = [n for n in start if start[n].abs().max() > 0]
    assert len(shrunk) >= 2  # the prompt and W1; the others start at zero
    for name in shrunk:
        rate = 0.1 if "prompt" in name else 0.02
        expected = ends[0.0][name] - rate * 0.5 * start[name]
        assert torch.allclose(ends[0.5][name], expected, atol=1e-6), name


def test_the_logged_speed_is_that_of_all_ranks(tmp_path, data, monkeypatch):
    """Each rank counts its own tokens; Trainer's log is that of the whole run."""
    model = injected()
    batcher = make_batcher(model, "shared_prefix", 64)
    trainer = AdeptTrainer(model, arguments(tmp_path), data, batcher)
    for ranks in (1, 3):
        monkeypatch.setattr(Accelerator, "num_processes", property(lambda self, n=ranks: n))
        trainer.speed.count(2, 500)
        trainer.speed.seconds += 4.0
        trainer.log({"loss": 1.0})
        logged = trainer.state.log_history[-1]
        assert logged["tokens_per_second"] == 125.0 * ranks
        assert logged["examples_per_second"] == 0.5 * ranks and logged["peak_memory_gb"] > 0


def test_a_run_goes_on_with_its_scaled_loss(tmp_path, data):
    """With --fp16 the scaler's scale is found step by step; afresh it would overflow again."""

    def trainer_with(scaler):
        model = injected()
        batcher = make_batcher(model, "shared_prefix", 64)
        args = arguments(tmp_path, max_steps=3, save_strategy="steps", save_steps=2)
        trainer = AdeptTrainer(model, args, data, batcher)
        trainer.accelerator.scaler = scaler
        return trainer

    first = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=7)
    trainer_with(first).train()
    shutil.rmtree(tmp_path / "checkpoint-3")
    second = torch.amp.GradScaler("cpu", init_scale=2.0)
    trainer = trainer_with(second)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert second.get_growth_interval() == 7 and second.state_dict()["scale"] == 64.0
    shutil.rmtree(tmp_path / "checkpoint-3")
    # a run without a scaler reads the checkpoint all the same
    trainer_with(None).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))


def test_other_training_examples_are_refused_on_resuming(tmp_path, data):
    train(tmp_path, data, max_steps=1, save_strategy="steps", save_steps=1)
    one = data[7]
    changed = replace(one, prompt_ids=[*one.prompt_ids, 5])
    answered = replace(one, target_ids=[5, *one.target_ids])
    for other in (
        data[:-1], data[:1] + data, data[::-1], [*data[:7], changed, *data[8:]],
        [*data[:7], answered, *data[8:]],
    ):  # fmt: skip
        with pytest.raises(InputError, match="training examples 96 .*give the same, or another"):
            train(tmp_path, other, max_steps=2, warmup_steps=1, resume_from_checkpoint="auto")
    train(tmp_path, data, max_steps=2, warmup_steps=1, resume_from_checkpoint="auto")


def test_turns_that_are_learnt_are_among_the_facts(tmp_path, data):
    """The same ids with another mask are another run."""
    train(tmp_path, data, max_steps=1, save_strategy="steps", save_steps=1)
    masked = [replace(data[0], passed_over=((0, 1),)), *data[1:]]
    with pytest.raises(InputError, match="training examples 96 .*give the same, or another"):
        train(tmp_path, masked, max_steps=2, warmup_steps=1, resume_from_checkpoint="auto")


def test_what_the_loss_is_on_is_named_on_resuming(tmp_path, data):
    """A hash of the examples alone would not say what has to be given."""
    settings = {"save_strategy": "steps", "save_steps": 1, "warmup_steps": 1}
    for loss_on, raises in (("target", False), ("all", True)):
        model = injected()
        given = arguments(tmp_path, max_steps=2, resume_from_checkpoint="auto", **settings)
        trainer = AdeptTrainer(
            model, given, data, make_batcher(model), record=record_of(loss_on=loss_on)
        )
        if raises:
            with pytest.raises(InputError, match="with loss_on target, this run has all; give"):
                trainer.train(resume_from_checkpoint="auto")
        else:
            trainer.train()


def test_a_run_with_length_buckets_goes_on_bit_for_bit(tmp_path, encoder, rows):
    """INV 8, across the end of a bucket and of an epoch; without buckets the losses are others."""
    data = encoder.encode_all(rows[:40])[0]
    settings = {"length_bucket": 16, "warmup_steps": 1, "lr_scheduler_type": "constant"}
    whole, _ = train(tmp_path / "whole", data, max_steps=8, **settings)
    saving = {"save_strategy": "steps", "save_steps": 3}
    train(tmp_path / "cut", data, max_steps=3, **settings, **saving)
    rest, _ = train(
        tmp_path / "cut", data, max_steps=8, resume_from_checkpoint="auto", **settings, **saving
    )
    assert losses(rest)[-5:] == losses(whole)[-5:]
    plain, _ = train(tmp_path / "plain", data, max_steps=8, **{**settings, "length_bucket": 0})
    assert losses(plain) != losses(whole)
    with pytest.raises(InputError, match="with length_bucket 16, this run has 0; give the same"):
        train(
            tmp_path / "cut", data, max_steps=9, resume_from_checkpoint="auto",
            **{**settings, "length_bucket": 0}, **saving,
        )  # fmt: skip


def test_validation_loss_is_the_loss_that_is_learnt(tmp_path, rows):
    """With the loss on all of a row, that of free text is too: a stock model's, BOS left out."""
    encoder = Encoder(load_tokenizer(str(MODEL)), "plain", 64, "all")
    free = [replace(row, labels=()) for row in rows[:6]]
    measure = TokenLoss.of(encoder, free, 4)
    model = inject_adapter(load_model(str(MODEL)), AdeptConfig("adept", 0, 4))  # starts at zero
    found = measure(model, make_batcher(model))["loss"]
    total = count = 0
    stock = load_model(str(MODEL)).eval()
    for one in encoder.encode_all(free)[0]:
        ids = torch.tensor([one.prompt_ids + one.target_ids])
        with torch.no_grad():
            total += stock(ids, labels=ids).loss.item() * (ids.numel() - 1)
        count += ids.numel() - 1
    assert found == pytest.approx(total / count, rel=1e-4)


def test_the_same_base_in_another_folder_is_the_same(tmp_path, data):
    run_folder, moved = tmp_path / "run", tmp_path / "elsewhere" / "renamed"
    settings = {"save_strategy": "steps", "save_steps": 1, "warmup_steps": 1}
    shutil.copytree(MODEL, moved)
    train(run_folder, data, max_steps=1, **settings)
    model = inject_adapter(load_model(str(moved)), AdeptConfig("adept", 5, 4))
    trainer, _ = train(
        run_folder, data, model=model, max_steps=2, resume_from_checkpoint="auto", **settings
    )
    assert trainer.state.global_step == 2
