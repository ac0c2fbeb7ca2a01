"""A folder becomes a tuned model: what it takes from the run, and what it refuses."""

import json
import shutil

import pytest
import torch
from transformers import Gemma3Config

from adept_llm import AdeptConfig, InputError, get_adapter, inject_adapter, save_adapter
from adept_llm.base.loading import load_model
from adept_llm.demo import MODEL
from adept_llm.training.checkpoints.folders import write_checkpoint
from adept_llm.tuned import Tuned
from tests.builders import record_of


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    model = inject_adapter(load_model(str(MODEL)), AdeptConfig("adept", 4, 3))
    return save_adapter(model, tmp_path_factory.mktemp("tuned") / "adapter")


def test_a_bare_adapter_has_plain_settings(saved):
    tuned = Tuned.open(saved)
    assert tuned.record is None and tuned.labels is None
    found = (tuned.template, tuned.max_length, tuned.quantization)
    assert found == ("plain", 256, "none")


def test_a_run_tells_how_it_was_trained_and_arguments_win(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "run")
    record_of(template="alpaca", max_length=33, labels=("a", "b")).write(tmp_path / "run")
    tuned = Tuned.open(tmp_path / "run")
    assert (tuned.template, tuned.max_length, tuned.labels) == ("alpaca", 33, ("a", "b"))
    assert (tuned.encoder.template, tuned.encoder.max_length) == ("alpaca", 33)
    assert tuned.form == "" and Tuned.open(saved).form == ""
    record_of(form="prompt").write(tmp_path / "run")
    assert Tuned.open(tmp_path / "run").form == "prompt"
    assert Tuned.open(tmp_path / "run", max_length=0).max_length == 0, "which encoding refuses"
    record_of(template="alpaca", max_length=33, labels=("a", "b")).write(tmp_path / "run")
    given = Tuned.open(tmp_path / "run", template="plain", max_length=40)
    assert (given.template, given.max_length, given.labels) == ("plain", 40, ("a", "b"))


def test_a_run_that_is_not_finished_is_opened_at_its_newest_whole_checkpoint(saved, tmp_path):
    files = {path.name: path.read_bytes() for path in saved.iterdir()}
    files["run.json"] = record_of(max_length=21).to_bytes()
    for step in (2, 4, 6):
        write_checkpoint(tmp_path, step, files, {})
    (tmp_path / "checkpoint-6" / "adapter_model.safetensors").write_bytes(b"cut")
    tuned = Tuned.open(tmp_path)
    assert tuned.folder == tmp_path / "checkpoint-4" and tuned.max_length == 21


def test_opening_reads_no_weights(saved, monkeypatch):
    monkeypatch.setattr("adept_llm.tuned.load_model", lambda *_: pytest.fail("weights were read"))
    tuned = Tuned.open(saved)
    tuned.check_context(8)
    assert tuned.tokenizer.eos_token_id == 2


def test_the_model_is_the_base_with_the_adapter(saved):
    tuned = Tuned.open(saved)
    assert tuned.model is tuned.model and not tuned.model.training
    assert tuned.batcher().packed and not tuned.batcher("padded").packed
    with torch.no_grad():
        ids = torch.tensor([[*get_adapter(tuned.model).virtual_token_ids, 5, 6]])
        assert torch.isfinite(tuned.model(ids).logits).all()


def test_its_tokenizer_writes_what_the_model_wants(saved):
    """For programs that tokenise themselves, such as lm-evaluation-harness."""
    tuned = Tuned.open(saved)
    virtual = get_adapter(tuned.model).virtual_token_ids
    ids = tuned.prefixed_tokenizer("The soup.").input_ids
    assert ids == virtual + tuned.tokenizer("The soup.").input_ids


def test_answers_that_exceed_the_context_are_refused(saved):
    context = json.loads((MODEL / "config.json").read_text())["max_position_embeddings"]
    tuned = Tuned.open(saved, max_length=context - 4)
    tuned.check_context()
    with pytest.raises(InputError, match="by 1$"):
        tuned.check_context(1)
    with pytest.raises(InputError, match=f"--max_length {context - 4} or less"):
        Tuned.open(saved, max_length=context - 3).check_context()


def test_a_base_of_another_width_is_refused_before_weights_are_read(saved, tmp_path):
    config = json.loads((MODEL / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"hidden_size": 64}))
    with pytest.raises(InputError, match="hidden size 128, .* has 64"):
        Tuned.open(saved, model_name_or_path=str(tmp_path))


def test_the_width_of_a_base_that_sees_is_that_of_its_words(saved, tmp_path):
    Gemma3Config(text_config={"hidden_size": 64}).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="hidden size 128, .* has 64"):
        Tuned.open(saved, model_name_or_path=str(tmp_path))
    Gemma3Config(text_config={"hidden_size": 128}).save_pretrained(tmp_path)
    assert Tuned.open(saved, model_name_or_path=str(tmp_path))


def test_a_dtype_is_checked_before_weights_are_read(saved):
    assert Tuned.open(saved, dtype=torch.bfloat16).load_base().dtype == torch.bfloat16
    with pytest.raises(InputError, match="dtype: half is unknown; choose one of auto, float32"):
        Tuned.open(saved, dtype="half")


def test_a_folder_without_an_adapter_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no adapter_config.json"):
        Tuned.open(tmp_path)
