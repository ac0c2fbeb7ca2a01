"""Bad input: one clear line, exit code 2, nothing written."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from adept_llm import AdeptConfig, inject_adapter, save_adapter
from adept_llm.base.loading import load_model
from adept_llm.cli.main import main
from adept_llm.demo import MODEL
from adept_llm.demo.world import examples
from adept_llm.errors import InputError
from adept_llm.files import write_whole
from adept_llm.training.run_folder import claimed
from tests.builders import record_of

FAST = [
    "--max_steps", "2", "--report_to", "none", "--use_cpu", "true", "--save_strategy", "no",
    "--disable_tqdm", "true",
]  # fmt: skip


@pytest.fixture
def train_file(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in examples(0, 64, "train")))
    return path


def refused(capsys, tmp_path, *argv):
    """Run a command that must be refused; its one line."""
    capsys.readouterr()
    before = sorted(tmp_path.rglob("*"))
    assert main([*map(str, argv)]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: ") and err.count("\n") == 1, err
    assert "Traceback" not in out + err
    assert sorted(tmp_path.rglob("*")) == before
    return err


def train(tmp_path, *argv, model=MODEL):
    return ["train", "--model_name_or_path", model, "--output_dir", tmp_path / "out", *FAST, *argv]


def test_unknown_task(capsys, tmp_path):
    assert "sst2" in refused(capsys, tmp_path, *train(tmp_path, "--task", "sst22"))


def test_unknown_argument(capsys, tmp_path):
    line = refused(capsys, tmp_path, *train(tmp_path, "--task", "sst2", "--learnin_rate", "1"))
    assert "learnin_rate" in line


def test_missing_column_and_wrong_label_and_empty_file(capsys, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for content, message in [
        ('{"text": "x", "label": 1}\n', "sentence"),
        ('{"sentence": "x", "label": 1}\n{"sentence": "x", "label": 7}\n', "train.jsonl"),
        ("", "no rows"),
    ]:
        (data / "train.jsonl").write_text(content)
        line = refused(capsys, tmp_path, *train(tmp_path, "--task", "sst2", "--data_dir", data))
        assert message in line


def test_malformed_row_of_own_data(capsys, tmp_path, train_file):
    train_file.write_text(train_file.read_text() + '{"instruction": "x", "output": [3]}\n')
    line = refused(capsys, tmp_path, *train(tmp_path, "--train_file", train_file))
    assert "train.jsonl" in line and "65" in line and "output" in line


def test_text_longer_than_the_context(capsys, tmp_path, train_file):
    argv = train(tmp_path, "--train_file", train_file, "--max_length", "500")
    line = refused(capsys, tmp_path, *argv)
    assert "--max_length 452" in line


def test_model_that_is_none(capsys, tmp_path, train_file):
    (tmp_path / "no-model").mkdir()
    argv = train(tmp_path, "--train_file", train_file, model=tmp_path / "no-model")
    assert "config.json" in refused(capsys, tmp_path, *argv)


def test_loss_that_is_not_finite(capsys, tmp_path, train_file):
    broken = tmp_path / "model"
    shutil.copytree(MODEL, broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][:] = torch.inf
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    argv = train(tmp_path, "--train_file", train_file, model=broken)
    line = refused(capsys, tmp_path, *argv)
    assert "step 1" in line and "train.jsonl:" in line and "learning_rate" in line


def test_merge_of_a_missing_adapter(capsys, tmp_path):
    argv = ["merge", "--adapter", tmp_path / "none", "--output_dir", tmp_path / "merged"]
    assert "adapter_config.json" in refused(capsys, tmp_path, *argv)


def test_model_without_an_embedding_layer(capsys, tmp_path, train_file):
    (tmp_path / "vit").mkdir()
    (tmp_path / "vit" / "config.json").write_text('{"model_type": "vit"}')
    argv = train(tmp_path, "--train_file", train_file, model=tmp_path / "vit")
    line = refused(capsys, tmp_path, *argv)
    assert "vit" in line and "embedding layer" in line


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ({"hidden_act": "nope"}, "nope"),
        ({"rope_parameters": {"rope_type": "nope"}}, "nope"),
        ({"head_dim": -8}, "negative dimension -32"),
    ],
)
def test_model_that_its_config_json_cannot_make(capsys, tmp_path, train_file, field, said):
    (tmp_path / "model").mkdir()
    config = json.loads((MODEL / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | field))
    argv = train(tmp_path, "--train_file", train_file, model=tmp_path / "model")
    line = refused(capsys, tmp_path, *argv)
    assert "no llama can be made by its config.json" in line and said in line


def other_base(tmp_path, change):
    """The demo's base, changed; with an adapter of the unchanged one beside it."""
    adapter = save_adapter(
        inject_adapter(load_model(str(MODEL)), AdeptConfig("adept", 4, 3)), tmp_path / "adapter"
    )
    shutil.copytree(MODEL, tmp_path / "model")
    change(tmp_path / "model")
    return ["--adapter", adapter, "--model_name_or_path", tmp_path / "model"]


def test_adapter_of_another_width_is_refused_before_weights_are_read(capsys, tmp_path, train_file):
    def narrow(folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 64}))
        (folder / "model.safetensors").unlink()

    base = other_base(tmp_path, narrow)
    for argv in (
        ["merge", *base, "--output_dir", tmp_path / "merged"],
        ["evaluate", *base, "--file", train_file, "--output_file", tmp_path / "metrics.json"],
        ["generate", *base, "--file", train_file, "--output_file", tmp_path / "answers.jsonl"],
    ):
        assert "hidden size 128" in refused(capsys, tmp_path, *argv)


def test_adapter_of_another_base_of_the_same_width(capsys, tmp_path):
    def retrain(folder):
        weights = load_file(folder / "model.safetensors")
        weights["model.embed_tokens.weight"] *= 1.01
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    base = other_base(tmp_path, retrain)
    line = refused(capsys, tmp_path, "merge", *base, "--output_dir", tmp_path / "merged")
    assert "rms" in line


def test_merge_of_dept(capsys, tmp_path):
    model = inject_adapter(load_model(str(MODEL)), AdeptConfig("dept", 4, 3))
    adapter = save_adapter(model, tmp_path / "adapter")
    argv = ["merge", "--adapter", adapter, "--output_dir", tmp_path / "merged"]
    assert "position" in refused(capsys, tmp_path, *argv)


def test_evaluation_without_rows(capsys, tmp_path, train_file):
    argv = train(tmp_path, "--train_file", train_file, "--eval_strategy", "epoch")
    assert "--validation_file" in refused(capsys, tmp_path, *argv)


def test_own_free_text_is_measured_by_its_loss(capsys, tmp_path):
    path = tmp_path / "free.jsonl"
    rows = [{"prompt": f"{i} and one is", "completion": str(i + 1)} for i in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    argv = train(tmp_path, "--train_file", path, "--validation_file", path)
    argv += ["--eval_strategy", "steps", "--eval_steps", "1", "--save_strategy", "steps"]
    argv += ["--save_steps", "1", "--load_best_model_at_end", "true"]
    assert main([*map(str, argv)]) == 0
    result = json.loads((tmp_path / "out" / "run.json").read_text())["results"]
    assert result["after"]["loss"] < result["before"]["loss"]


def test_train_then_merge(capsys, tmp_path, train_file):
    argv = train(tmp_path, "--train_file", train_file, "--validation_file", train_file)
    assert main([*map(str, argv), "--num_virtual_tokens", "5"]) == 0
    assert "accuracy after" in capsys.readouterr().out
    out = sorted(path.name for path in (tmp_path / "out").iterdir())
    adapter = ["adapter_config.json", "adapter_model.safetensors"]
    assert out == ["README.md", *adapter, "log.jsonl", "run.json"]
    assert "| validation accuracy |" in (tmp_path / "out" / "README.md").read_text()
    argv = ["merge", "--adapter", tmp_path / "out", "--output_dir", tmp_path / "merged"]
    assert main([*map(str, argv)]) == 0
    assert (tmp_path / "merged" / "model.safetensors").is_file()


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    model = inject_adapter(load_model(str(MODEL)), AdeptConfig("adept", 4, 3))
    return save_adapter(model, tmp_path_factory.mktemp("saved") / "adapter")


@pytest.mark.parametrize(
    "wrong",
    [
        ["--do_sample", "true", "--temperature", "0"],
        ["--do_sample", "true", "--temperature", "-1"],
        ["--do_sample", "true", "--temperature", "nan"],
        ["--do_sample", "true", "--top_p", "0"],
        ["--do_sample", "true", "--top_p", "1.5"],
        ["--do_sample", "true", "--seed", "-1"],
        ["--do_sample", "true", "--seed", str(2**64)],
    ],
    ids=lambda words: "=".join(words[2:]),
)
def test_sampling_that_cannot_be(capsys, tmp_path, adapter, wrong):
    line = refused(capsys, tmp_path, "generate", "--adapter", adapter, "--prompt", "x", *wrong)
    assert line.startswith(f"error: {wrong[2].lstrip('-')}: ")


def test_room_for_new_tokens(capsys, tmp_path, adapter):
    argv = ["generate", "--adapter", adapter, "--prompt", "x", "--max_length", "256"]
    line = refused(capsys, tmp_path, *argv, "--max_new_tokens", "400")
    context = json.loads((MODEL / "config.json").read_text())["max_position_embeddings"]
    assert line.startswith("error: max_new_tokens: ") and f"by {4 + 256 + 400 - context}" in line


@pytest.mark.parametrize("place", ["missing/out.json", "folder"])
@pytest.mark.parametrize("name", ["output_file", "predictions_file"])
def test_output_that_cannot_be_written_is_told_before_weights_are_read(
    capsys, tmp_path, adapter, train_file, name, place, monkeypatch
):
    monkeypatch.setattr("adept_llm.tuned.load_model", lambda *_: pytest.fail("weights were read"))
    (tmp_path / "folder").mkdir()
    for command in ("evaluate", "generate") if name == "output_file" else ("evaluate",):
        argv = [command, "--adapter", adapter, "--file", train_file, f"--{name}", tmp_path / place]
        line = refused(capsys, tmp_path, *argv)
        assert line.startswith(f"error: {name}: ") and "folder" in line


def test_write_whole_does_not_write_into_a_folder(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        write_whole(tmp_path, b"x")
    assert not list(tmp_path.iterdir()) and not list(tmp_path.parent.glob(f".{tmp_path.name}.*"))


def test_files_that_are_not_utf_8(capsys, tmp_path, adapter):
    broken = tmp_path / "adapter"
    shutil.copytree(adapter, broken)
    (broken / "adapter_config.json").write_bytes(b'{"adapter": "\xff"}')
    line = refused(capsys, tmp_path, "generate", "--adapter", broken, "--prompt", "x")
    assert "adapter_config.json" in line
    (tmp_path / "run.yaml").write_bytes(b"task: \xff\n")
    assert "run.yaml: not UTF-8" in refused(capsys, tmp_path, "train", tmp_path / "run.yaml")


@pytest.mark.parametrize(
    "content",
    ['{"data": 3}', "[]", "{", '{"data": {"max_length": "x"}}', '{"data": {"labels": "No"}}'],
)
def test_record_of_a_run_that_is_none(capsys, tmp_path, adapter, content):
    broken = tmp_path / "adapter"
    shutil.copytree(adapter, broken)
    (broken / "run.json").write_text(content)
    line = refused(capsys, tmp_path, "generate", "--adapter", broken, "--prompt", "x")
    assert "run.json" in line


@pytest.mark.parametrize(
    "wrong", [["--num_tokens", "1"], ["--per_device_train_batch_size", "0"]], ids=lambda w: w[0]
)
def test_estimate_of_nothing(capsys, tmp_path, wrong):
    line = refused(capsys, tmp_path, "estimate", "--model_name_or_path", MODEL, *wrong)
    assert wrong[0].lstrip("-") in line


@pytest.mark.parametrize("limit", ["0", "-3"])
def test_a_sample_of_no_rows(capsys, tmp_path, adapter, train_file, limit):
    argv = ["evaluate", "--adapter", adapter, "--file", train_file, "--max_samples", limit]
    assert refused(capsys, tmp_path, *argv).startswith(f"error: max_samples: {limit} ")
    argv = train(tmp_path, "--train_file", train_file, "--max_train_samples", limit)
    assert limit in refused(capsys, tmp_path, *argv)


def test_a_question_that_is_none(capsys, tmp_path, adapter):
    path = tmp_path / "rows.jsonl"
    for rows, message in [
        ('{"prompt": ""}\n', "prompt"),
        ('{"messages": []}\n', "messages"),
        ('{"messages": [{"role": "system", "content": "Hi"}]}\n', "turns"),
        ('{"prompt": "x"}\n{"prompt": "x", "id": 3}\n', "rows.jsonl:2: unknown column 'id'"),
    ]:
        path.write_text(rows)
        line = refused(capsys, tmp_path, "generate", "--adapter", adapter, "--file", path)
        assert message in line


def test_a_rate_of_what_the_method_lacks(capsys, tmp_path, train_file):
    argv = train(tmp_path, "--train_file", train_file, "--method", "prompt_tuning")
    line = refused(capsys, tmp_path, *argv, "--offset_learning_rate", "0.03")
    assert "offset_learning_rate: prompt_tuning has no offset to train" in line


def test_a_warm_up_longer_than_the_epochs(capsys, tmp_path, train_file):
    """64 rows in batches of 8: 8 steps."""
    argv = train(tmp_path, "--train_file", train_file, "--per_device_train_batch_size", "8")
    argv += ["--max_steps", "-1", "--num_train_epochs", "1", "--warmup_steps"]
    assert "warmup_steps: 9 of 8 steps" in refused(capsys, tmp_path, *argv, "9")


def test_a_file_has_no_splits(capsys, tmp_path, adapter, train_file):
    argv = ["evaluate", "--adapter", adapter, "--file", train_file, "--split", "validation"]
    assert "split: goes with --task" in refused(capsys, tmp_path, *argv)


def test_a_finished_folder_and_one_at_work(capsys, tmp_path, train_file, monkeypatch):
    monkeypatch.setattr("adept_llm.training.run_folder.WAIT", 0.1)
    argv = train(tmp_path, "--train_file", train_file)
    out = tmp_path / "out"
    record_of().finished({"steps": 2}).write(out)
    line = refused(capsys, tmp_path, *argv)
    assert "holds a finished run" in line and "--overwrite_output_dir" in line
    with claimed(out):
        assert "another run is at work" in refused(capsys, tmp_path, *argv)
    assert main([*map(str, argv), "--overwrite_output_dir", "true"]) == 0
    assert json.loads((out / "run.json").read_text())["results"]["steps"] > 0
