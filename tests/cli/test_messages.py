"""What was misleading or a traceback: one line that says what is wrong and what to do."""

import errno
import json
import shutil

import pytest

from adept_llm import AdeptConfig, InputError, inject_adapter, save_adapter
from adept_llm.base.loading import load_config, load_model, load_tokenizer
from adept_llm.cli.main import main
from adept_llm.demo import MODEL
from adept_llm.demo.world import examples
from adept_llm.tasks import get_task, load_split


@pytest.fixture
def train_file(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in examples(0, 16, "train")))
    return path


def refused(capsys, tmp_path, *argv):
    """Run a command that must be refused and leave nothing behind; its one line."""
    before = sorted(tmp_path.rglob("*"))
    capsys.readouterr()
    assert main([*map(str, argv)]) == 2
    out, err = capsys.readouterr()
    *bars, err = err.splitlines()
    assert err.startswith("error: ") and not any("error" in bar for bar in bars)
    assert "Traceback" not in out + "".join(bars)
    assert sorted(tmp_path.rglob("*")) == before
    return err


def train(tmp_path, train_file, *more, model=MODEL):
    return [
        "train", "--model_name_or_path", model, "--train_file", train_file, "--use_cpu", "true",
        "--output_dir", tmp_path / "out", "--max_length", "64", "--max_steps", "2",
        "--save_strategy", "no", "--warmup_steps", "0", "--report_to", "none", *more,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name, wrong", [("report_to", "wandb"), ("report_to", "rubbish"), ("optim", "lomo")]
)
def test_a_library_that_is_missing_is_told_before_the_base_is_read(
    capsys, tmp_path, train_file, monkeypatch, name, wrong
):
    monkeypatch.setattr("adept_llm.cli.train.load_tokenizer", lambda *_: pytest.fail("was read"))
    monkeypatch.setattr("transformers.integrations.is_wandb_available", lambda: False)
    line = refused(capsys, tmp_path, *train(tmp_path, train_file, f"--{name}", wrong))
    assert name in line and wrong in line


def test_a_merge_on_a_full_disk_leaves_nothing(capsys, tmp_path, monkeypatch):
    """Half a folder looks like a model."""
    from transformers import PreTrainedTokenizerBase

    model = inject_adapter(load_model(str(MODEL)), AdeptConfig("adept", 4, 3))
    adapter = save_adapter(model, tmp_path / "adapter")

    def full(self, folder, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PreTrainedTokenizerBase, "save_pretrained", full)
    argv = ["merge", "--adapter", adapter, "--output_dir", tmp_path / "merged"]
    line = refused(capsys, tmp_path, *argv)
    assert "No space left" in line and "merged" in line


def test_more_virtual_tokens_than_the_context_holds(capsys, tmp_path, train_file):
    """'set --max_length -4488' is no advice."""
    line = refused(capsys, tmp_path, *train(tmp_path, train_file, "--num_virtual_tokens", 5000))
    assert "num_virtual_tokens: 5000" in line and "--max_length" not in line
    advised = int(line.split("--num_virtual_tokens ")[1].split()[0])
    more = ["--num_virtual_tokens", advised]
    assert main([*map(str, train(tmp_path, train_file, *more))]) == 0


@pytest.mark.parametrize(
    "content, message",
    [
        ('{"model_type": "lama"}', "knows no model_type 'lama'; did you mean"),
        ('{"model_type": "zzzz-9"}', "knows no model_type 'zzzz-9'; upgrade transformers"),
        ("{}", "names no model_type"),
        ("{", "is damaged"),
    ],
)
def test_a_configuration_that_is_no_models(tmp_path, content, message):
    """'Neither a folder nor a model' of a folder that is there sends one the wrong way."""
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError) as error:
        load_config(str(tmp_path))
    assert message in str(error.value) and "neither" not in str(error.value)


def test_a_base_with_nothing_but_a_sentencepiece_model(tmp_path, monkeypatch):
    """transformers asks for tiktoken, which is the wrong package."""
    shutil.copytree(MODEL, tmp_path / "base")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "base" / name).unlink(missing_ok=True)
    (tmp_path / "base" / "tokenizer.model").write_bytes(b"no such model")
    with pytest.raises(InputError, match="pip install sentencepiece") as error:
        load_tokenizer(str(tmp_path / "base"))
    assert "tokenizer.model" in str(error.value)


@pytest.mark.parametrize("offline", [True, False])
def test_the_way_out_of_an_unreachable_hub_fits(monkeypatch, offline):
    """'Set HF_HUB_OFFLINE=1' to someone who has set it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: 1 / 0)
    with pytest.raises(InputError) as error:
        load_split(get_task("sst2"), "train")
    assert ("unset HF_HUB_OFFLINE" in str(error.value)) == offline
    assert ("or set HF_HUB_OFFLINE=1" in str(error.value)) != offline


@pytest.mark.parametrize(
    "wrong, meant",
    [
        (["--learnin_rate", "1"], "--learnin_rate is unknown; did you mean --learning_rate?"),
        (["--zzzzzz=3"], "--zzzzzz is unknown; --help"),
        (["sst2"], "'sst2' belongs to no argument"),
    ],
)
def test_an_unknown_argument_gets_the_nearest_known_one(capsys, tmp_path, train_file, wrong, meant):
    line = refused(capsys, tmp_path, *train(tmp_path, train_file, *wrong))
    assert meant in line and "HfArgumentParser" not in line


def test_an_unknown_argument_of_a_file_does_too(capsys, tmp_path):
    (tmp_path / "run.yaml").write_text("model_name_or_path: x\ntask: rte\nbotleneck_size: 3\n")
    line = refused(capsys, tmp_path, "train", tmp_path / "run.yaml")
    assert "did you mean --bottleneck_size?" in line
