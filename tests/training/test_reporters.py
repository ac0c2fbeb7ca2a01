"""--report_to: whatever keeps the curves gets our numbers as well as Trainer's."""

import sys
from importlib.machinery import ModuleSpec
from unittest.mock import MagicMock

import pytest

from adept_llm import AdeptConfig, inject_adapter
from adept_llm.base.loading import load_model, load_tokenizer
from adept_llm.data import Encoder, Example
from adept_llm.demo import MODEL
from adept_llm.packing import make_batcher
from adept_llm.training.arguments import AdeptTrainingArguments
from adept_llm.training.run import run

NUMBERS = (
    "loss", "learning_rate", "offset_learning_rate", "tokens_per_second", "examples_per_second",
    "peak_memory_gb",
)  # fmt: skip
INTEGRATIONS = "transformers.integrations.integration_utils"


def train(folder, reporter, steps=2):
    rows = [Example("", f"word {n}", "yes", id=str(n)) for n in range(16)]
    encoded, _ = Encoder(load_tokenizer(str(MODEL)), "plain", 64).encode_all(rows)
    model = inject_adapter(load_model(str(MODEL)), AdeptConfig("adept", 4, 3))
    args = AdeptTrainingArguments(
        output_dir=str(folder), max_steps=steps, save_strategy="no", warmup_steps=0,
        report_to=[reporter], disable_tqdm=True, use_cpu=True, per_device_train_batch_size=4,
    )  # fmt: skip
    return run(model, args, encoded, make_batcher(model, "shared_prefix", 64))[0]


def test_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer = train(tmp_path, "tensorboard")
    (file,) = tmp_path.rglob("events.out.tfevents*")
    events = EventAccumulator(str(file))
    events.Reload()
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    for name in NUMBERS:
        told = events.Scalars(f"train/{name}")
        assert [one.step for one in told] == [1, 2]
        assert [one.value for one in told] == pytest.approx([entry[name] for entry in logged])


@pytest.mark.parametrize("reporter", ["wandb", "mlflow", "comet_ml", "trackio"])
def test_others_by_stand_ins_for_their_packages(tmp_path, monkeypatch, reporter):
    """Trainer's own reporter runs; what it hands to the package is looked at."""
    fake = MagicMock(name=reporter)
    fake.__spec__ = ModuleSpec(reporter, None)
    fake.__version__ = "99.0"
    fake.utils.validation.MAX_PARAM_VAL_LENGTH = 500
    fake.utils.validation.MAX_PARAMS_TAGS_PER_BATCH = 100
    for module in (reporter, "wandb.sdk", "wandb.sdk.lib", "wandb.sdk.lib.config_util"):
        monkeypatch.setitem(sys.modules, module, fake)
    fake.ConfigError = ValueError
    if reporter == "comet_ml":
        monkeypatch.setattr(f"{INTEGRATIONS}._is_comet_installed", True)
        monkeypatch.setattr(f"{INTEGRATIONS}._is_comet_recent_enough", True)
        for name in ("set_model_graph", "log_parameters", "log_metrics", "log_others"):
            # which a MagicMock takes for magic
            setattr(fake.start(), f"__internal_api__{name}__", getattr(fake, name))
    trainer = train(tmp_path, reporter)
    told = [str(call) for call in fake.mock_calls if "offset_learning_rate'" in str(call)]
    steps = [call for call in told if "tokens_per_second" in call]
    assert len(steps) == 2, fake.mock_calls
    for call, entry in zip(steps, trainer.state.log_history, strict=False):
        for number in NUMBERS:
            assert f"{number}': {entry[number]}" in call
