"""The recipes of one's own loop learn, leave an adapter, and go on; docs name what is public."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

import adept_llm
from adept_llm.base.loading import load_model, load_tokenizer
from adept_llm.data import Encoder, read_instructions
from adept_llm.demo import MODEL
from adept_llm.demo.world import examples
from adept_llm.evaluation.token_loss import mean_loss
from adept_llm.packing import make_batcher
from tests.test_recipes import recipe

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Rows of the demo's task in a user's file."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    with path.open("w") as file:
        for row in examples(0, 96, "train"):
            prompt = f"{row['instruction']}\n{row['input']}"
            file.write(json.dumps({"prompt": prompt, "completion": f"\n{row['output']}"}) + "\n")
    return path


@pytest.fixture(autouse=True)
def one_seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("own_*.py")), ids=lambda p: p.stem)
def test_without_arguments_a_recipe_tells_its_usage(path):
    """They ended in an IndexError."""
    if path.stem in ("own_lightning", "own_sft"):
        pytest.importorskip({"own_lightning": "lightning", "own_sft": "trl"}[path.stem])
    done = subprocess.run([sys.executable, path], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    usage, error = done.stderr.splitlines()[-2:]
    assert usage.startswith(f"usage: {path.name}") and "BASE ROWS.jsonl OUTPUT_DIR" in usage
    assert "required: BASE, ROWS.jsonl, OUTPUT_DIR" in error and "Traceback" not in done.stderr


def loss_of(model, rows):
    """The toolkit's own loss on all rows, by packed rows."""
    encoder = Encoder(load_tokenizer(str(MODEL)), "plain", 256)
    encoded, _ = encoder.encode_all(read_instructions(rows))
    return mean_loss(model, make_batcher(model), encoded, 32)


def check(folder, rows):
    """A saved adapter answers better than one that is not trained, and holds nothing else."""
    config = adept_llm.AdeptConfig("adept", num_virtual_tokens=20, bottleneck_size=39)
    before = loss_of(adept_llm.inject_adapter(load_model(str(MODEL)), config), rows)
    model = adept_llm.load_adapter(load_model(str(MODEL)), folder)
    assert loss_of(model, rows) < before - 1
    for path in folder.rglob("*.safetensors"):
        with safe_open(path, "pt") as file:
            numbers = sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118
        assert numbers == sum(
            p.numel() for p in adept_llm.get_adapter(model).trained_parameters().values()
        )


def test_a_torch_loop_tunes_saves_loads_and_answers(rows, tmp_path, capsys):
    recipe("own_loop").main(str(MODEL), str(rows), str(tmp_path), epochs=4)
    check(tmp_path, rows)
    said = capsys.readouterr().out.strip()
    asked = json.loads(rows.read_text().splitlines()[0])["prompt"]
    assert asked in said and "<|" not in said


def test_accelerate_trains_the_same_loop(rows, tmp_path):
    recipe("own_accelerate").main(str(MODEL), str(rows), str(tmp_path), epochs=4)
    check(tmp_path, rows)


def test_accelerate_trains_it_on_two_ranks_of_the_cpu(rows, tmp_path):
    """As docs/clusters.md says; without the variable each of the two trains by itself."""
    launch = "--multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no"
    done = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *launch.split()]
        + ["recipes/own_accelerate.py", str(MODEL), str(rows), str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"ACCELERATE_USE_CPU": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("epoch")]
    assert [line.split(":")[0] for line in lines] == ["epoch 1", "epoch 2"]
    assert (tmp_path / "adapter_model.safetensors").is_file()


def test_lightning_trains_it_and_keeps_small_checkpoints(rows, tmp_path):
    pytest.importorskip("lightning")
    recipe("own_lightning").main(str(MODEL), str(rows), str(tmp_path), epochs=4)
    check(tmp_path, rows)
    (checkpoint,) = (tmp_path / "checkpoints").glob("*.ckpt")
    state = torch.load(checkpoint, weights_only=False)["state_dict"]
    assert state and all(".offset." in name or ".prompt." in name for name in state)


def test_lightning_takes_one_device(rows, tmp_path, monkeypatch):
    """Of several GPUs it would take all, and each process would write the adapter."""
    lightning = pytest.importorskip("lightning")
    given = {}

    def trainer(**arguments):
        given.update(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(lightning, "Trainer", trainer)
    with pytest.raises(KeyboardInterrupt):
        recipe("own_lightning").main(str(MODEL), str(rows), str(tmp_path))
    assert given["devices"] == 1


def test_stock_trainer_saves_resumes_and_takes_the_best(rows, tmp_path):
    """It died at its first save; now each file it writes is the adapter's."""
    own_trainer = recipe("own_trainer")
    trainer = own_trainer.main(str(MODEL), str(rows), str(tmp_path), steps=16)
    check(tmp_path, rows)
    best = Path(trainer.state.best_model_checkpoint)
    loaded = adept_llm.load_adapter(load_model(str(MODEL)), best)
    values = adept_llm.get_adapter(trainer.model).trained_parameters()
    for name, value in adept_llm.get_adapter(loaded).trained_parameters().items():
        assert torch.equal(value, values[name])
    whole = trainer.state.log_history
    for later in ("checkpoint-12", "checkpoint-16"):
        for path in (tmp_path / later).iterdir():
            path.unlink()
        (tmp_path / later).rmdir()
    again = own_trainer.main(str(MODEL), str(rows), str(tmp_path), steps=16, resume=True)
    ends = [
        [e["eval_loss"] for e in log if "eval_loss" in e][-1]
        for log in (whole, again.state.log_history)
    ]
    assert ends[1] == pytest.approx(ends[0], rel=1e-3)


def test_stock_trainer_takes_few_rows_and_a_tokenizer_without_padding(rows, tmp_path):
    """Nine rows left none to train on; Llama-2's tokenizer was refused by the collator."""
    from transformers import AutoTokenizer

    base = tmp_path / "base"
    shutil.copytree(MODEL, base)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(base)
    few = tmp_path / "few.jsonl"
    few.write_text("".join(rows.read_text().splitlines(keepends=True)[:9]))
    trainer = recipe("own_trainer").main(str(base), str(few), str(tmp_path / "out"), steps=4)
    assert AutoTokenizer.from_pretrained(base).pad_token is None
    assert (len(trainer.train_dataset), len(trainer.eval_dataset)) == (8, 1)
    assert trainer.state.global_step == 4


def test_sft_trainer_trains_with_the_virtual_tokens(rows, tmp_path, monkeypatch):
    """It trained without them and said nothing."""
    pytest.importorskip("trl")
    seen = []
    forward = adept_llm.adapters.AdeptEmbedding.forward
    monkeypatch.setattr(
        adept_llm.adapters.AdeptEmbedding,
        "forward",
        lambda layer, ids: seen.append(ids) or forward(layer, ids),
    )
    trainer = recipe("own_sft").main(str(MODEL), str(rows), str(tmp_path), steps=24)
    virtual = torch.tensor(adept_llm.get_adapter(trainer.model).virtual_token_ids)
    first = virtual[0]
    assert seen and all(((ids >= first).sum(1) == len(virtual)).all() for ids in seen)
    check(tmp_path, rows)


def test_sft_trainer_packs_no_texts_without_a_word(rows, tmp_path):
    trl = pytest.importorskip("trl")
    from datasets import load_dataset

    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    config = adept_llm.AdeptConfig("adept", 4, 3)
    trainer = trl.SFTTrainer(
        model=adept_llm.inject_adapter(model, config),
        args=trl.SFTConfig(
            str(tmp_path), max_steps=1, packing=True, max_length=128, bf16=False, report_to="none"
        ),
        train_dataset=load_dataset("json", data_files=str(rows), split="train"),
        processing_class=load_tokenizer(str(MODEL)),
    )
    with pytest.raises(adept_llm.InputError, match="virtual tokens"):
        trainer.train()


def test_the_page_on_ones_own_loop_names_what_is_public():
    """In its table, in dir(), and with a hint of its type."""
    text = (ROOT / "docs" / "own_loop.md").read_text()
    table = text[text.index("## The names") : text.index("## With and without")]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {name for cell in cells for name in re.findall(r"`(\w+)", cell)}
    assert named == set(adept_llm.__all__) <= set(dir(adept_llm))
    hinted = (ROOT / "adept_llm" / "__init__.py").read_text().split("# where bitsandbytes")[0]
    assert all(re.search(rf"\b{name}\b", hinted) for name in adept_llm.__all__)
    assert all(getattr(adept_llm, name).__doc__ for name in adept_llm.__all__)
