"""What evaluate and generate do with an adapter: which rows, packed or not, and how they decode."""

import json
import shutil

import pytest
import torch
from transformers import GenerationConfig

from adept_llm import AdeptConfig, inject_adapter, load_adapter, save_adapter
from adept_llm.adapters import get_adapter
from adept_llm.base.loading import load_model, load_tokenizer
from adept_llm.cli.main import main
from adept_llm.cli.parsing import parse
from adept_llm.demo import MODEL
from adept_llm.packing import Batcher, make_batcher
from adept_llm.record import FREE_TEXT, LABELS
from adept_llm.training.arguments import AdeptTrainingArguments, DataArguments
from adept_llm.training.data import read_data
from tests.builders import record_of

PROMPTS = ["Mia went to the inn. She", "The soup was stale. Tom", "Ana had bread. The waiter"]
NEW = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("answers")


@pytest.fixture(scope="module")
def adapter(folder):
    torch.manual_seed(0)
    model = inject_adapter(load_model(str(MODEL)), AdeptConfig("adept", 5, 3))
    with torch.no_grad():
        for value in get_adapter(model).trained_parameters().values():
            value.add_(0.3 * torch.randn_like(value))  # an offset that is not zero
    return save_adapter(model, folder / "adapter")


@pytest.fixture(scope="module")
def questions(folder):
    path = folder / "questions.jsonl"
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in PROMPTS))
    return path


@pytest.fixture(scope="module")
def sorted_rows(folder):
    """All rows of one label before those of the other."""
    path = folder / "sorted.jsonl"
    rows = [{"prompt": f"{i} is", "completion": "\nYes" if i < 40 else "\nNo"} for i in range(80)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def generated(capsys, adapter, path, *options):
    """The answers to a file."""
    argv = ["generate", "--adapter", adapter, "--file", path, "--max_new_tokens", NEW, *options]
    capsys.readouterr()
    assert main([*map(str, argv)]) == 0
    return [json.loads(line)["answer"] for line in capsys.readouterr().out.splitlines()]


def stock(model, virtual, **options):
    """Answers of transformers' own generate, each prompt alone."""
    tokenizer = load_tokenizer(str(MODEL))
    eos = tokenizer.eos_token_id
    config = GenerationConfig(
        max_new_tokens=NEW, eos_token_id=eos, pad_token_id=eos, do_sample=False, **options
    )
    answers = []
    for text in PROMPTS:
        ids = torch.tensor([[*virtual, *tokenizer(text).input_ids]])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
        new = out[0, ids.shape[1] :]
        answers.append(tokenizer.decode(new, skip_special_tokens=True).strip())
    return answers


def test_without_virtual_tokens(capsys, folder, questions):
    """A fresh adapter without P changes nothing: its answers are the frozen model's own."""
    model = inject_adapter(load_model(str(MODEL)), AdeptConfig("adept", 0, 3))
    bare = save_adapter(model, folder / "bare")
    assert generated(capsys, bare, questions) == stock(load_model(str(MODEL)), [])


def test_beams_are_those_of_stock_generate(capsys, adapter, questions):
    model = load_adapter(load_model(str(MODEL)), adapter)
    virtual = get_adapter(model).virtual_token_ids
    expected = stock(model, virtual, num_beams=4)
    assert expected != stock(model, virtual), "else beams could be left out unnoticed"
    assert generated(capsys, adapter, questions, "--num_beams", 4) == expected


def test_sampling_obeys_seed_temperature_and_top_p(capsys, adapter, questions):
    def drawn(*options):
        return generated(capsys, adapter, questions, "--do_sample", "true", *options)

    greedy = generated(capsys, adapter, questions)
    first = drawn("--seed", 1, "--temperature", 2)
    assert first == drawn("--seed", 1, "--temperature", 2) != drawn("--seed", 2)
    assert first != greedy
    assert drawn("--temperature", 1e-4) == greedy == drawn("--top_p", 1e-6)


def test_the_bases_own_generation_config_has_no_say(capsys, folder, adapter, questions):
    base = folder / "base"
    shutil.copytree(MODEL, base)
    greedy = generated(capsys, adapter, questions)
    words = load_tokenizer(str(MODEL))(" ".join(greedy)).input_ids
    own = {"repetition_penalty": 9.0, "top_k": 1, "suppress_tokens": words, "min_length": 200}
    (base / "generation_config.json").write_text(json.dumps(own | {"do_sample": True}))
    other = ["--model_name_or_path", base]
    assert generated(capsys, adapter, questions, *other) == greedy
    draw = ["--do_sample", "true", "--temperature", 3]
    assert generated(capsys, adapter, questions, *draw, *other) == generated(
        capsys, adapter, questions, *draw
    )


@pytest.mark.parametrize(
    "of",
    [
        lambda text: {"prompt": text, "completion": ""},
        lambda text: {"prompt": text, "completion": None},
        lambda text: {"prompt": text, "completion": "an answer of a length of its own"},
        lambda text: {"messages": [{"role": "user", "content": text}]},
        lambda text: {
            "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": ""}]
        },
    ],
    ids=["empty", "null", "answered", "messages", "messages with an empty answer"],
)
def test_answers_may_be_missing_or_empty(capsys, tmp_path, adapter, questions, of):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(of(text)) + "\n" for text in PROMPTS))
    argv = ["--template", "plain"]
    found = generated(capsys, adapter, path, *argv)
    if "messages" in of(""):  # the plain template writes an instruction in its own way
        instructions = tmp_path / "instructions.jsonl"
        rows = [{"instruction": text, "output": "x"} for text in PROMPTS]
        instructions.write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert found == generated(capsys, adapter, instructions, *argv)
    else:
        assert found == generated(capsys, adapter, questions, *argv)


def test_samples_of_own_rows_are_drawn(sorted_rows):
    def drawn(seed):
        data = DataArguments(
            train_file=str(sorted_rows), validation_file=str(sorted_rows),
            max_train_samples=20, max_validation_samples=10,
        )  # fmt: skip
        return read_data(data, seed)

    train, validation = drawn(1)
    assert len(train) == 20 and len(validation) == 10
    for part in (train, validation):
        assert {example.target for example in part} == {"\nYes", "\nNo"}
        assert {example.labels for example in part} == {("\nNo", "\nYes")}
    assert drawn(1) == (train, validation) and drawn(2)[0] != train


def evaluated(adapter, path, predictions, *options):
    """The predictions that the command writes."""
    argv = ["evaluate", "--adapter", adapter, "--file", path, "--predictions_file", predictions]
    assert main([*map(str, [*argv, *options])]) == 0
    return [json.loads(line) for line in predictions.read_text().splitlines()]


def test_max_samples_of_evaluate_are_drawn(tmp_path, adapter, sorted_rows):
    def ids(seed):
        options = ["--max_samples", 20, "--seed", seed]
        rows = evaluated(adapter, sorted_rows, tmp_path / "p.jsonl", *options)
        assert {row["target"] for row in rows} == {"\nYes", "\nNo"}
        return [row["id"] for row in rows]

    assert len(ids(1)) == 20 and ids(1) == ids(1) != ids(2)


def test_evaluate_packs_or_pads_as_asked(monkeypatch, tmp_path, adapter, sorted_rows):
    used = []

    def keep(*how):
        used.append(make_batcher(*how))
        return used[-1]

    monkeypatch.setattr("adept_llm.together.make_batcher", keep)
    packed, padded = (
        evaluated(adapter, sorted_rows, tmp_path / "p.jsonl", "--packing", packing)
        for packing in ("shared_prefix", "padded")
    )
    assert [one.packed for one in used] == [True, False]
    for one, other in zip(packed, padded, strict=True):
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-3)


def test_evaluate_says_why_it_pads(monkeypatch, capsys, tmp_path, adapter, sorted_rows):
    adapted = get_adapter(load_adapter(load_model(str(MODEL)), adapter))
    padded = Batcher(tuple(adapted.virtual_token_ids), False, "of the weather")
    monkeypatch.setattr("adept_llm.together.make_batcher", lambda *_: padded)
    evaluated(adapter, sorted_rows, tmp_path / "p.jsonl")
    assert "padding instead of packing: of the weather\n" in capsys.readouterr().out


@pytest.mark.parametrize("labels", [["\nYes", "\nNo", "\nMaybe"], []])
def test_labels_are_those_of_the_training_run(tmp_path, adapter, sorted_rows, labels):
    """Also where it had none: free text stays free text, however few answers the rows have."""
    shutil.copytree(adapter, tmp_path / "run")
    kind = LABELS if labels else FREE_TEXT
    record_of(kind=kind, labels=labels, template="plain").write(tmp_path / "run")
    rows = evaluated(tmp_path / "run", sorted_rows, tmp_path / "p.jsonl", "--max_samples", 4)
    assert list(rows[0].get("scores", ())) == labels


@pytest.mark.parametrize("to_file", [True, False])
def test_each_row_gets_a_line_and_the_exit_code_tells_of_errors(capsys, tmp_path, adapter, to_file):
    """Rows that were left out shifted all answers behind them, and nobody was told."""
    path, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    texts = [PROMPTS[0], "too long " * 300, PROMPTS[1], "too long " * 400]
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    argv = ["generate", "--adapter", adapter, "--file", path, "--max_new_tokens", NEW]
    capsys.readouterr()
    code = main([*map(str, [*argv, *(["--output_file", out] * to_file)])])
    printed, told = capsys.readouterr()
    rows = [json.loads(x) for x in (out.read_text() if to_file else printed).splitlines()]
    assert code == 1
    assert [row["id"] for row in rows] == [f"rows.jsonl:{n}" for n in (1, 2, 3, 4)]
    assert [sorted(row) for row in rows] == [["answer", "id"], ["error", "id"]] * 2
    assert all("max_length" in rows[n]["error"] and "tokens" in rows[n]["error"] for n in (1, 3))
    assert "4 rows" in told and "2 too long" in told
    short = tmp_path / "short.jsonl"
    short.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts[::2]))
    assert [rows[0]["answer"], rows[2]["answer"]] == generated(capsys, adapter, short)


def test_a_file_without_one_answer_still_gets_its_lines(capsys, tmp_path, adapter, monkeypatch):
    """And reads no weights for it."""
    monkeypatch.setattr("adept_llm.tuned.load_model", lambda *_: pytest.fail("weights were read"))
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "too long " * 300}) + "\n")
    assert main(["generate", "--adapter", str(adapter), "--file", str(path)]) == 1
    (row,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert row["id"] == "rows.jsonl:1" and "max_length" in row["error"]
    assert main(["generate", "--adapter", str(adapter), "--prompt", "too long " * 300]) == 2
    assert "--max_length" in capsys.readouterr().err


@pytest.mark.parametrize("written", ["no", "false", "'no'"])
def test_no_of_a_file_is_a_choice(tmp_path, written):
    path = tmp_path / "run.yaml"
    path.write_text(f"save_strategy: {written}\nuse_cpu: yes\noutput_dir: o\n")
    if written == "false":
        path.write_text("eval_strategy: off\n" + path.read_text())
    (args,) = parse([AdeptTrainingArguments], [str(path)])
    assert args.save_strategy == "no" and args.eval_strategy == "no" and args.use_cpu


@pytest.mark.parametrize("script", ["/usr/bin/adept-llm", "/somewhere/cli/main.py"])
def test_help_names_the_command(monkeypatch, capsys, script):
    monkeypatch.setattr("sys.argv", [script, "generate", "--help"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("usage: adept-llm generate ")


def test_sampling_is_from_the_whole_vocabulary(capsys, tmp_path, adapter):
    """Not from the 50 most probable tokens, which is what transformers does unless told."""
    path = tmp_path / "same.jsonl"
    path.write_text(200 * (json.dumps({"prompt": PROMPTS[0]}) + "\n"))
    hot = ["--do_sample", "true", "--temperature", 1e4, "--max_new_tokens", 1, "--batch_size", 200]
    assert len(set(generated(capsys, adapter, path, *hot))) > 60


def test_evaluate_says_what_the_answers_are_taken_for(capsys, tmp_path, adapter, sorted_rows):
    evaluated(adapter, sorted_rows, tmp_path / "p.jsonl")
    assert "answers: 2 labels: '\\nNo' 40, '\\nYes' 40\n" in capsys.readouterr().out
