"""The recipes that are programs: what they leave, and that baselines train what they say."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from adept_llm.adapters import AdeptConfig, AdeptEmbedding, BaseTable
from adept_llm.cli.main import main as adept_llm
from adept_llm.demo import MODEL
from adept_llm.errors import InputError
from adept_llm.evaluation.shots import shot_ids
from adept_llm.packing import make_batcher
from tests.builders import small_model
from tests.evaluation.test_shots import encoder_of, sst2_rows

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


def test_shots_count_as_length_where_rows_are_packed(tmp_path, monkeypatch):
    """A sliding window, and the context, hold them too."""
    told = []

    def keep(model, packing, longest):
        told.append(longest)
        return make_batcher(model, packing, longest)

    monkeypatch.setattr(baseline, "make_batcher", keep)
    few = results_of(tmp_path / "few", "few_shot", "--shots", "2")
    zero = results_of(tmp_path / "zero", "zero_shot")
    assert few["after"]["loss"] != zero["after"]["loss"]
    shots = shot_ids(encoder_of(200), sst2_rows(), 2, seed=42)
    assert told == [200 + len(shots), 200]
    with pytest.raises(InputError, match="of shots and 460 of text exceed the model's context of"):
        results_of(tmp_path / "many", "few_shot", "--max_length", "460")
    assert not (tmp_path / "many" / "run.json").exists()


def test_shots_stand_in_front_of_free_text_too(tmp_path):
    """Such rows of one's own are measured by their answers, not by the loss alone."""
    rows = "".join(
        json.dumps({"prompt": f"two and {n}", "completion": str(n + 2)}) + "\n" for n in range(4)
    )
    (tmp_path / "rows.jsonl").write_text(rows)
    argv = [
        "--method", "few_shot", "--model_name_or_path", MODEL, "--train_file",
        tmp_path / "rows.jsonl", "--validation_file", tmp_path / "rows.jsonl", "--max_length", "40",
        "--shots", "2", "--output_dir", tmp_path / "out", "--report_to", "none",
    ]  # fmt: skip
    baseline.main([*map(str, argv)])
    results = json.loads((tmp_path / "out" / "run.json").read_text())["results"]
    assert "exact_match" in results["after"]


def test_no_clipping_is_no_standstill(tmp_path):
    """Trainer reads 0 so; evaluations may be a share of the steps, as there."""
    more = (
        "--max_grad_norm",
        "0",
        "--eval_steps",
        "0.6",
        "--disable_tqdm",
        "true",
        "--do_train",
        "1",
    )
    results = results_of(tmp_path / "out", "full", *more)
    assert results["before"]["loss"] > results["after"]["loss"]
    log = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").open()]
    assert [entry["step"] for entry in log if "eval_loss" in entry] == [2]


@pytest.mark.parametrize(("name", "place"), [("gpt2", "c_attn"), ("gpt_neox", "query_key_value")])
def test_lora_lies_where_peft_puts_it(name, place):
    baseline.check_lora(small_model(name).config.model_type)
    model, _ = baseline.prepared(small_model(name), baseline.BaselineArguments("lora"))
    assert all(f".{place}.lora_" in n for n, p in model.named_parameters() if p.requires_grad)


def test_lora_of_an_unknown_kind_is_refused_before_data_are_read(tmp_path):
    small_model("phi3").config.save_pretrained(tmp_path / "base")
    with pytest.raises(InputError, match="PEFT does not say where LoRA goes in phi3"):
        results_of(tmp_path / "out", "lora", "--model_name_or_path", tmp_path / "base")


def test_baselines_refuse_in_one_line(tmp_path, monkeypatch):
    """What they would pass over, and what has no default, before anything is written."""
    with pytest.raises(InputError, match="lora_rank, shots: give 1 or more"):
        baseline.BaselineArguments("lora", lora_rank=0)
    for words, said in [
        (["--quantization", "nf4"], "quantization: baselines train without it"),
        (["--weight_decay", "0.5"], "weight_decay: baselines train without it"),
        (["--tokens_per_batch", "9"], "tokens_per_batch: baselines train without it"),
        (["--optim", "sgd"], "optim: baselines train without it"),
        (["--adam_beta1", "0.1"], "adam_beta1: baselines train without it"),
        (["--bf16", "true", "--use_cpu", "true"], "bf16: baselines train without it"),
        (["--use_cpu", "true"], "use_cpu: baselines train without it"),
        (["--early_stopping_patience", "2"], "early_stopping_patience: baselines train without"),
        (["--load_best_model_at_end", "true"], "load_best_model_at_end: baselines train without"),
        (["--logging_nan_inf_filter", "false"], "logging_nan_inf_filter: baselines train without"),
        (["--save_strategy", "epoch"], "save_strategy: baselines train without it"),
        (["--eval_strategy", "epoch"], "eval_strategy: baselines evaluate by steps, or not"),
        (["--max_steps", "-1"], "learning_rate, max_steps: lora has no defaults"),
    ]:
        with pytest.raises(InputError, match=said):
            results_of(tmp_path / "out", "lora", *words)
    with monkeypatch.context() as launched, pytest.raises(InputError, match="WORLD_SIZE: .* one"):
        launched.setenv("WORLD_SIZE", "2")
        results_of(tmp_path / "out", "lora")
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


def test_all_methods_keep_to_one_budget_on_smollm2():
    """100 d numbers of SmolLM2-135M, but for those that are there to show what more would bring.

    Elsewhere the word table's rank and LoRA's may exceed it: compare.py says so.
    """
    d, vocabulary, layers, keys = 576, 49152, 30, 192
    for name, compared in compare.METHODS.items():
        if compared.program == "train":
            count = trained_numbers(compared.arguments, d, vocabulary)
            assert count <= 100 * d, name
    # rank 1 on q_proj and v_proj
    assert layers * (d + d + d + keys) <= 100 * d
    words = compare.METHODS["embedding_lora"].arguments
    assert trained_numbers(words, 640, 262144) > 4 * 100 * 640, "Gemma 3 270M"


def trained_numbers(arguments, d, vocabulary):
    """Of an adapter on a base of that width and vocabulary."""
    table = BaseTable(vocabulary, d, 1.0)
    adapter = AdeptEmbedding(torch.nn.Embedding(2, d), AdeptConfig(**arguments), table)
    return sum(p.numel() for p in adapter.trained_parameters().values())
