"""Every task goes the whole way: rows, two steps of training, evaluation, predictions."""

import dataclasses
from pathlib import Path

import pytest
from transformers.utils import logging

from adept_llm import AdeptConfig, InputError, inject_adapter
from adept_llm.base.loading import load_model, load_tokenizer
from adept_llm.cli.main import main
from adept_llm.data import Encoder
from adept_llm.demo import MODEL
from adept_llm.evaluation.answers import AnswerMeasure
from adept_llm.evaluation.metrics import RUNS_CODE
from adept_llm.evaluation.predictions import Prediction
from adept_llm.packing import make_batcher
from adept_llm.tasks import get_task, load_split, task_names
from adept_llm.training.arguments import AdeptTrainingArguments
from adept_llm.training.run import run

FIXTURES = Path(__file__).parents[1] / "tasks" / "fixtures"
LENGTH = 180  # some contexts of the fixtures are longer with alpaca


@pytest.fixture(scope="module")
def tokenizer():
    logging.disable_progress_bar()
    yield load_tokenizer(str(MODEL))
    logging.enable_progress_bar()


@pytest.mark.parametrize(
    "name, packing, template",
    [(name, "shared_prefix", "plain") for name in task_names()]
    + [(name, "padded", "reference") for name in ("stsb", "newsqa", "winogrande")],
)
def test_two_steps_and_an_evaluation(name, packing, template, tokenizer, tmp_path):
    """On the embedded model, whose few numbers make it quick; the loss must be one."""
    task = dataclasses.replace(get_task(name), max_new_tokens=6)
    encoder = Encoder(tokenizer, template, LENGTH)
    train, test = (
        load_split(task, split, FIXTURES / name, reference=template == "reference")
        for split in ("train", "test")
    )
    encoded, report = encoder.encode_all(train)
    assert report.dropped == 0
    measure = AnswerMeasure.of_task(
        encoder, task, test, 4, allow_code_execution=True, allow_unsandboxed_code=True
    )
    model = inject_adapter(load_model(str(MODEL)), AdeptConfig("adept", 5, 3))
    batcher = make_batcher(model, packing, LENGTH)
    assert batcher.why_padded is None
    args = AdeptTrainingArguments(
        output_dir=str(tmp_path), max_steps=2, per_device_train_batch_size=3, packing=packing,
        save_strategy="no", report_to="none", disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    trainer, result = run(model, args, encoded, batcher, measure)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 2 and all(0 < float(loss) < 30 for loss in losses)
    assert list(result.after) == [*task.metrics, "loss"]
    assert all(-1 <= result.after[name] <= 1 for name in task.metrics)
    predictions = measure.predict(trainer.model, batcher)
    assert [one.example.id for one in predictions] == [one.id for one in test]
    if task.labels:
        assert all(one.text in one.example.labels for one in predictions)
    assert list(measure.baseline(train)) == list(task.metrics)


def test_train_takes_a_task_with_shots(tmp_path, capsys):
    """As a user calls it: splits, few shots, the papers' form, the data's fingerprint."""
    argv = [
        "train",
        "--model_name_or_path",
        MODEL,
        "--output_dir",
        tmp_path / "out",
        "--task",
        "rte",
    ]
    argv += ["--data_dir", FIXTURES / "rte", "--template", "reference", "--k_shot", 4]
    argv += ["--max_steps", 1, "--report_to", "none", "--use_cpu", True, "--save_strategy", "no"]
    argv += ["--num_virtual_tokens", 5, "--disable_tqdm", True]
    assert main([*map(str, argv)]) == 0
    out = capsys.readouterr().out
    assert "train: 4 examples" in out and "validation: 1 examples" in out
    assert out.count("; data ") == 2 and "accuracy after" in out


def test_programs_run_only_with_leave(tokenizer):
    """MBPP trains without it, but is not measured."""
    task = get_task("mbpp")
    assert not RUNS_CODE.isdisjoint(task.metrics)
    with pytest.raises(InputError, match="--allow_code_execution"):
        AnswerMeasure.of_task(Encoder(tokenizer, "plain", LENGTH), task, [])


def test_right_programs_pass(tokenizer):
    """The fixture's own code, as a model that has learnt it would write it."""
    task = get_task("mbpp")
    examples = load_split(task, "train", FIXTURES / "mbpp")
    encoder = Encoder(tokenizer, "plain", LENGTH)
    measure = AnswerMeasure.of_task(
        encoder, task, examples, allow_code_execution=True, allow_unsandboxed_code=True
    )
    encoded, _ = encoder.encode_all(examples)
    texts = [tokenizer.decode(one.target_ids, skip_special_tokens=True).strip() for one in encoded]
    predictions = [Prediction(e, text) for e, text in zip(examples, texts, strict=True)]
    assert measure.score(predictions) == {"pass@1": 1.0}
