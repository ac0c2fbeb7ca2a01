"""The commands from end to end, on the embedded tiny Llama; every shipped recipe parses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import MptConfig

from adept_llm.adapters import METHODS
from adept_llm.cli.main import main
from adept_llm.cli.parsing import parse
from adept_llm.cli.sweep import check_arguments, read_plan
from adept_llm.cli.train import KINDS, settle
from adept_llm.demo import MODEL
from adept_llm.demo.__main__ import write_rows

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    write_rows(folder)
    return folder


@pytest.fixture(scope="module")
def tuned(rows):
    """An adapter trained for a few steps by the command itself."""
    out = rows / "out"
    argv = [
        "train", "--model_name_or_path", MODEL, "--train_file", rows / "train.jsonl",
        "--validation_file", rows / "validation.jsonl", "--max_length", "64",
        "--max_validation_samples", "64", "--max_steps", "4", "--warmup_steps", "1",
        "--num_virtual_tokens", "5", "--output_dir", out, "--disable_tqdm", "true",
        "--eval_strategy", "steps", "--eval_steps", "2", "--save_steps", "2",
        "--load_best_model_at_end", "true", "--save_total_limit", "1", "--use_cpu", "true",
    ]  # fmt: skip
    assert main([*map(str, argv)]) == 0
    return out


def call(capsys, *argv):
    assert main([*map(str, argv)]) == 0
    return capsys.readouterr().out


def test_train_leaves_adapter_run_and_log(tuned):
    run = json.loads((tuned / "run.json").read_text())
    assert run["results"]["steps"] == 4 and run["data"]["max_length"] == 64
    assert run["data"]["labels"] == ["\nNo", "\nYes"]
    assert run["data"]["loss_on"] == "target" and run["results"]["peak_memory_gb"] > 0.1
    assert (tuned / "adapter_model.safetensors").is_file()
    assert list(tuned.rglob("events.out.tfevents*")), "TensorBoard is the default reporter"


def test_evaluate_repeats_the_runs_own_number(tuned, rows, capsys):
    argv = ["evaluate", "--adapter", tuned, "--file", rows / "validation.jsonl"]
    argv += ["--max_samples", "64", "--output_file", rows / "metrics.json"]
    packed = call(capsys, *argv)
    measured = json.loads((rows / "metrics.json").read_text())["accuracy"]
    run = json.loads((tuned / "run.json").read_text())
    assert measured == run["results"]["after"]["accuracy"]
    assert call(capsys, *argv, "--packing", "padded") == packed


def test_generate_answers_a_prompt_and_a_file(tuned, rows, capsys):
    prompt = json.loads((rows / "test.jsonl").read_text().splitlines()[0])["prompt"]
    options = ["generate", "--adapter", tuned, "--max_new_tokens", "4"]
    answer = call(capsys, *options, "--prompt", prompt).rstrip("\n")
    few = rows / "few.jsonl"
    few.write_text("".join((rows / "test.jsonl").read_text().splitlines(keepends=True)[:3]))
    call(capsys, *options, "--file", few, "--output_file", rows / "answers.jsonl")
    answers = [json.loads(line) for line in (rows / "answers.jsonl").read_text().splitlines()]
    assert [a["id"] for a in answers] == ["few.jsonl:1", "few.jsonl:2", "few.jsonl:3"]
    # alone, and left-padded in a batch of three
    assert answers[0]["answer"] == answer


def test_merge_gives_a_model_that_answers_alike(tuned, rows, capsys):
    merged = rows / "merged"
    call(capsys, "merge", "--adapter", tuned, "--output_dir", merged)
    prompt = json.loads((rows / "test.jsonl").read_text().splitlines()[0])["prompt"]
    answer = call(
        capsys, "generate", "--adapter", tuned, "--max_new_tokens", "4", "--prompt", prompt
    )
    # a fresh process that never imports adept_llm
    code = (
        "import sys; from transformers import pipeline;"
        f"p = pipeline('text-generation', {str(merged)!r});"
        "out = p(sys.stdin.read(), max_new_tokens=4, do_sample=False, return_full_text=False);"
        "assert 'adept_llm' not in sys.modules; print(out[0]['generated_text'].strip())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=prompt, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == answer.strip()


def test_estimate_knows_llama_2_without_the_hub(capsys):
    out = call(capsys, "estimate", "--model_name_or_path", "meta-llama/Llama-2-7b-hf")
    assert "6,738,415,616 frozen parameters, 405,523 trained" in out
    assert "12.6 GiB" in out and "3.6 GiB" in out


def test_estimate_of_a_base_that_names_no_context(capsys, tmp_path):
    """MPT's configuration calls it otherwise: the table was followed by a traceback."""
    MptConfig(d_model=64, n_heads=4, n_layers=2, vocab_size=500).save_pretrained(tmp_path)
    out = call(capsys, "estimate", "--model_name_or_path", tmp_path)
    assert out.count("nf4") == 2


SHIPPED = sorted((ROOT / "recipes").glob("*.yaml"))
SWEEPS = [path for path in SHIPPED if path.name.startswith("sweep_")]


@pytest.mark.parametrize("path", [p for p in SHIPPED if p not in SWEEPS], ids=lambda p: p.name)
def test_every_shipped_recipe_parses(path):
    argv = [str(path), "--output_dir", "runs/x", "--model_name_or_path", "x"]
    _, adapter, data, args, _ = parse(KINDS, argv)
    assert adapter.num_virtual_tokens >= 0 and args.max_steps > 0
    assert data.task or data.train_file


@pytest.mark.parametrize("path", SWEEPS, ids=lambda p: p.name)
def test_every_shipped_sweep_can_begin(path):
    """All of its settings are arguments that `train` takes."""
    plan = read_plan(path, "runs/x", ["--model_name_or_path", "x", "--task", "sst2"])
    check_arguments(plan)
    assert len(plan.search) == 2 and plan.seeds


@pytest.mark.parametrize("method", METHODS)
def test_each_method_has_rates_of_its_own(method, tmp_path):
    """And they are recorded as if they had been given."""
    argv = ["--model_name_or_path", "x", "--task", "sst2", "--output_dir", str(tmp_path)]
    _, _, _, args, _ = parse(KINDS, [*argv, "--method", method], settle)
    forms = METHODS[method]
    assert args.learning_rate == forms.prompt.default_rate > 0
    assert args.offset_learning_rate == forms.offset.default_rate


def test_overrides_after_a_file_win(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("model_name_or_path: a\ntask: sst2\nnum_virtual_tokens: 7\noutput_dir: o\n")
    base, adapter, *_ = parse(KINDS, [str(path), "--num_virtual_tokens", "9"])
    assert (base.model_name_or_path, adapter.num_virtual_tokens) == ("a", 9)


def test_the_recipe_without_a_gpu_says_what_it_needs():
    """Before anything is downloaded: no hub is asked for a model of known shape."""
    command = [sys.executable, "recipes/llama2_adept.py", "recipes/llama2_7b.yaml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and "GPU" in last and "12.6 GiB" in last
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("bare", [True, False])
def test_a_dry_run_tells_the_steps_and_leaves_nothing(rows, tmp_path, capsys, monkeypatch, bare):
    monkeypatch.setattr("adept_llm.cli.train.load_model", lambda *_: pytest.fail("was read"))
    out = call(
        capsys, "train", "--model_name_or_path", MODEL, "--train_file", rows / "train.jsonl",
        "--validation_file", rows / "validation.jsonl", "--max_length", "64", "--max_steps", "70",
        "--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "2",
        "--num_virtual_tokens", "5", "--output_dir", tmp_path / "out", "--use_cpu", "true",
        *(["--dry_run"] if bare else ["--packing", "padded", "--dry_run", "true"]),
    )  # fmt: skip
    assert list(tmp_path.iterdir()) == []
    a_pass = -(-len((rows / "train.jsonl").read_text().splitlines()) // 16)
    assert f"70 of 16 rows, {a_pass} a pass" in out and "trained; memory about" in out
    assert f"nothing was written to {tmp_path / 'out'};" in out and "validation: " in out
    assert ("not here: as asked" in out) != bare
