"""The recipes that are programs: what they leave, and that baselines train what they say."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from adept_llm.cli.main import main as adept_llm
from adept_llm.demo import MODEL
from adept_llm.errors import InputError

ROOT = Path(__file__).parents[1]
FIXTURES = ROOT / "tests" / "tasks" / "fixtures"


def recipe(name):
    spec = importlib.util.spec_from_file_location(
        f"recipes_{name}", ROOT / "recipes" / f"{name}.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


baseline, compare = recipe("baseline"), recipe("compare")


def results_of(folder, method, *more):
    """The results of a baseline of three steps."""
    argv = [
        "--method", method, "--model_name_or_path", MODEL, "--task", "sst2", "--data_dir",
        FIXTURES / "sst2", "--max_length", "200", "--max_steps", "3", "--learning_rate", "0.01",
        "--per_device_train_batch_size", "2", "--do_predict", "true", "--eval_strategy", "steps",
        "--eval_steps", "2", "--output_dir", folder, "--report_to", "none", *more,
    ]  # fmt: skip
    baseline.main([*map(str, argv)])
    return json.loads((folder / "run.json").read_text())["results"]


@pytest.mark.parametrize("method", baseline.METHODS)
def test_a_baseline_leaves_what_a_report_reads(tmp_path, method):
    """And trains as many numbers as it says: none, LoRA's, the table's, all."""
    results = results_of(tmp_path / "out", method)
    model = AutoModelForCausalLM.from_pretrained(MODEL)
    config = model.config
    heads = config.head_dim * config.num_key_value_heads
    counts = {
        "lora": config.num_hidden_layers * (2 * config.hidden_size + config.hidden_size + heads),
        "table": config.vocab_size * config.hidden_size,
        "full": sum(p.numel() for p in model.parameters()),
    }
    assert results["trained_parameters"] == counts.get(method, 0)
    assert set(results["after"]) == set(results["test"]) == {"accuracy", "loss"}
    assert (tmp_path / "out" / "predictions.jsonl").is_file()
    if method not in baseline.TRAINED:
        assert results["before"] == results["after"]
        return
    log = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").open()]
    assert [entry["step"] for entry in log if "loss" in entry] == [1, 2, 3]
    assert [entry["step"] for entry in log if "eval_loss" in entry] == [2]
    assert results["before"]["loss"] > results["after"]["loss"]


def test_what_is_not_tuned_stays():
    """A tied head keeps its table where the input's is tuned; LoRA starts as the base."""
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.bfloat16)
    ids = torch.arange(3, 9)[None]
    before, head = model(ids).logits, model.get_output_embeddings().weight
    tuned, trained = baseline.prepared(model, baseline.BaselineArguments("table"))
    assert torch.equal(tuned(ids).logits, before) and tuned.get_output_embeddings().weight is head
    with torch.no_grad():
        trained[0].add_(1.0)
    assert not head.requires_grad and not torch.equal(tuned(ids).logits, before)
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.bfloat16)
    tuned, trained = baseline.prepared(model, baseline.BaselineArguments("lora"))
    assert torch.equal(tuned(ids).logits, before)
    assert all(p.dtype == torch.float32 for p in trained)


def test_shots_are_solved_rows_that_take_turns_by_class(tmp_path):
    """Balanced, behind each other, and in front of every text."""
    few = results_of(tmp_path / "few", "few_shot", "--shots", "2")
    zero = results_of(tmp_path / "zero", "zero_shot")
    assert few["after"]["loss"] != zero["after"]["loss"]


def test_baselines_refuse_in_one_line(tmp_path):
    """What they would pass over, and what has no default, before anything is written."""
    with pytest.raises(InputError, match="lora_rank, shots: give 1 or more"):
        baseline.BaselineArguments("lora", lora_rank=0)
    for words, said in [
        (["--quantization", "nf4"], "quantization: baselines train without it"),
        (["--weight_decay", "0.5"], "weight_decay: baselines train without it"),
        (["--tokens_per_batch", "9"], "tokens_per_batch: baselines train without it"),
        (["--max_steps", "-1"], "learning_rate, max_steps: lora has no defaults"),
    ]:
        with pytest.raises(InputError, match=said):
            results_of(tmp_path / "out", "lora", *words)
    argv = ["--method", "zero_shot", "--model_name_or_path", str(MODEL), "--report_to", "none"]
    (tmp_path / "train.jsonl").write_text('{"prompt": "1 is", "completion": "odd"}\n' * 4)
    argv += ["--train_file", str(tmp_path / "train.jsonl")]
    with pytest.raises(InputError, match="validation_file: baselines are compared by it"):
        baseline.main([*argv, "--output_dir", str(tmp_path / "out")])
    assert not (tmp_path / "out" / "run.json").exists()


def test_a_baseline_that_diverges_has_no_result(tmp_path):
    """A sweep counts such a run as the worst, by the word that its line begins with."""
    with pytest.raises(InputError, match=r"^loss: (nan at step|not finite on)"):
        results_of(tmp_path / "out", "full", "--learning_rate", "1e30")
    assert not (tmp_path / "out" / "run.json").exists()


def test_a_task_whose_rates_are_taken_searches_for_its_own():
    """A plan of one setting would take the place of its search's record."""
    argv = {"model_name_or_path": "b", "output_dir": "o", "tasks": ["sst2", "rte"]}
    args = compare.CompareArguments(**argv, rates_of="sst2")
    plan = compare.plan_of(args, "sst2", "lora")
    assert plan.search == compare.METHODS["lora"].search


def test_a_comparison_from_the_first_run_to_the_page(tmp_path, monkeypatch, capsys):
    """Of an adapter, a baseline and the base that is only asked; then at rates carried over."""

    def launch(runs):
        for run in runs:
            run.prepare()
            # the demo's tokenizer knows few words, and spells out the rest
            words = [*run.words, "--output_dir", str(run.folder), "--max_length", "300"]
            if run.program == "train":
                assert adept_llm(["train", *words]) == 0
            else:
                baseline.main(words)

    monkeypatch.setattr(compare, "launcher", lambda *_: launch)
    (tmp_path / "data").mkdir()
    for task in ("sst2", "cola"):
        (tmp_path / "data" / task).symlink_to(FIXTURES / task)
    argv = [
        "--model_name_or_path", str(MODEL), "--data_dir", str(tmp_path / "data"),
        "--output_dir", str(tmp_path / "out"), "--methods", "adept", "lora", "zero_shot",
        "--dtype", "float32", "--settings", "2", "--search_steps", "1", "--steps", "2",
        "--seeds", "1", "2", "--batch_size", "2",
    ]  # fmt: skip
    compare.main([*argv, "--tasks", "sst2"])
    out = capsys.readouterr().out
    assert out.count("chosen of 2 settings by loss") == 2 and "test accuracy" in out
    page = (tmp_path / "out" / "page.html").read_text()
    assert all(f"{name}</th>" in page for name in ("adept", "lora", "zero_shot"))
    compare.main([*argv, "--tasks", "cola", "--rates_of", "sst2"])
    out = capsys.readouterr().out
    assert "search" not in out.replace("searched", "") and "cola: lora" in out
    chosen = json.loads((tmp_path / "out" / "sst2" / "adept" / "sweep.json").read_text())["chosen"]
    assert (
        json.loads((tmp_path / "out" / "cola" / "adept" / "sweep.json").read_text())["chosen"]
        == chosen
    )


def test_all_methods_keep_to_one_budget():
    """100 d numbers, but for those that are there to show what more would bring."""
    from adept_llm.adapters import AdeptConfig, AdeptEmbedding, BaseTable

    d, vocabulary = 576, 49152
    for name, compared in compare.METHODS.items():
        if compared.program != "train":
            continue
        config = AdeptConfig(**compared.arguments)
        adapter = AdeptEmbedding(torch.nn.Embedding(2, d), config, BaseTable(vocabulary, d, 1.0))
        count = sum(p.numel() for p in adapter.trained_parameters().values())
        assert count <= 100 * d, name
