"""Merged folders, read back by stock classes, against the model that was merged in memory."""

import json
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from adept_llm import get_adapter, inject_adapter, load_adapter, merge_adapter, save_adapter
from adept_llm.cli.main import main
from adept_llm.demo import MODEL
from adept_llm.tuned import Tuned
from tests.builders import ARCHITECTURES, COMMON, CONFIGS

TEXT = "The soup was stale."
FP32, ADEPT = torch.float32, CONFIGS["adept"]


def base_in(folder, name="llama-tied", dtype=torch.float16, shard_size="50GB", config=ADEPT):
    """A small base with the demo's tokenizer, in a folder; its adapter in another."""
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    kind, changes = ARCHITECTURES[name]
    torch.manual_seed(0)
    sizes = {**COMMON, **changes, "vocab_size": len(tokenizer)}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes), dtype=dtype)
    model.save_pretrained(folder / "base", max_shard_size=shard_size)
    tokenizer.save_pretrained(folder / "base")
    model = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=dtype)
    model = inject_adapter(model, config)
    with torch.no_grad():
        for value in get_adapter(model).trained_parameters().values():
            value.add_(0.3 * torch.randn(value.shape, generator=torch.Generator().manual_seed(1)))
    save_adapter(model, folder / "adapter")
    return model


def store_head(base):
    """A head that is not the table, in the base's last file, though its config.json ties it."""
    path = sorted(base.glob("model*.safetensors"))[-1]
    config = json.loads((base / "config.json").read_text())
    shape = (config["vocab_size"], config["hidden_size"])
    head = 0.2 * torch.randn(shape, generator=torch.Generator().manual_seed(2))
    save_file({**load_file(path), "lm_head.weight": head}, path, metadata={"format": "pt"})
    index = base / "model.safetensors.index.json"
    if index.is_file():
        content = json.loads(index.read_text())
        content["weight_map"]["lm_head.weight"] = path.name
        index.write_text(json.dumps(content))


def merge(folder, *more):
    argv = ["merge", "--adapter", folder / "adapter", "--output_dir", folder / "merged", *more]
    return main([*map(str, argv)])


def assert_same(state, expected):
    """To the bit; the head's virtual rows nearly: measured in float32 there and in float16 here."""
    head, virtual = expected.get_output_embeddings().weight, 5
    for key, value in expected.state_dict().items():
        if value.data_ptr() != head.data_ptr():
            assert torch.equal(state[key], value), key
            continue
        assert torch.equal(state[key][:-virtual], value[:-virtual])
        gap = (state[key] - value)[-virtual:].float()
        assert gap.norm() < 0.05 * value[-virtual:].float().norm()
        assert (value[-virtual:] == value[-1]).all() and not torch.equal(value[-1], value[0])


# a head that is called embed_out in the files is merged in memory, and joins its shards
NAMES = ["llama-tied", "llama", "gemma3", "qwen2", "opt"]
CASES = [(name, size) for name in NAMES for size in ("50GB", "20KB")] + [("gpt_neox", "50GB")]


@pytest.mark.parametrize(("name", "shard_size"), CASES)
def test_what_is_written_file_by_file_is_what_is_merged_in_memory(tmp_path, name, shard_size):
    """The same tensors to the bit, in the dtype and the shards of the base."""
    model = base_in(tmp_path, name, shard_size=shard_size)
    assert merge(tmp_path) == 0
    expected, _ = merge_adapter(model, AutoTokenizer.from_pretrained(MODEL))
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype="auto")
    assert found.dtype == torch.float16 and not found.config.tie_word_embeddings
    state = found.state_dict()
    assert_same(state, expected)
    assert found.generation_config.suppress_tokens == expected.generation_config.suppress_tokens
    old, new = (
        sorted(p.name for p in (tmp_path / f).glob("*.safetensors*")) for f in ("base", "merged")
    )
    assert old == new and (len(new) > 2) == (shard_size == "20KB")
    if "model.safetensors.index.json" in new:
        index = json.loads((tmp_path / "merged" / "model.safetensors.index.json").read_text())
        for key, file in index["weight_map"].items():
            with safe_open(tmp_path / "merged" / file, "pt") as opened:
                assert key in opened.keys()
        sizes = [
            v.nbytes
            for f in set(index["weight_map"].values())
            for v in load_file(tmp_path / "merged" / f).values()
        ]
        assert index["metadata"]["total_size"] == sum(sizes)


def test_an_adapter_of_a_merged_base_has_its_prompt_before_the_old_one(tmp_path):
    """Of the same names for both the first prompt was lost; the card tells the new names."""
    first, second = tmp_path / "first", tmp_path / "second"
    base_in(first)
    assert merge(first) == 0
    second.mkdir()
    shutil.copytree(first / "merged", second / "base")
    tokenizer = AutoTokenizer.from_pretrained(second / "base")
    model = AutoModelForCausalLM.from_pretrained(second / "base", dtype=FP32)
    model = inject_adapter(model, CONFIGS["prompt_tuning"])
    save_adapter(model, second / "adapter")
    words = tokenizer(TEXT, return_tensors="pt")
    expected = model(**words).logits
    assert merge(second) == 0
    ids = AutoTokenizer.from_pretrained(second / "merged")(TEXT).input_ids
    assert ids == get_adapter(model).virtual_token_ids + words.input_ids[0].tolist()
    merged = AutoModelForCausalLM.from_pretrained(second / "merged", dtype=FP32)
    found = merged(torch.tensor([ids])).logits[:, 5:, : expected.shape[-1]]
    assert torch.allclose(found, expected, atol=1e-2)  # the files are float16
    assert "special tokens `<|adept_5|>`.." in (second / "merged" / "README.md").read_text()


@pytest.mark.parametrize("shards_stay", [False, True])
def test_an_index_that_was_left_beside_the_whole_file_is_not_read(tmp_path, shards_stay):
    """Else a folder that was saved anew is refused, or merged from the weights it had before."""
    base_in(tmp_path, "llama", shard_size="20KB")
    old = {path: path.read_bytes() for path in (tmp_path / "base").glob("model*.safetensors*")}
    model = base_in(tmp_path, "llama", dtype=torch.bfloat16)
    for path, content in old.items():
        if shards_stay or path.suffix == ".json":
            path.write_bytes(content)
    assert merge(tmp_path) == 0
    expected, _ = merge_adapter(model, AutoTokenizer.from_pretrained(MODEL))
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype="auto")
    assert found.dtype == torch.bfloat16
    assert_same(found.state_dict(), expected)
    assert not (tmp_path / "merged" / "model.safetensors.index.json").exists()


def test_the_tokenizer_writes_p_and_other_programs_find_their_files(tmp_path):
    """tokenizer.model, with the ids of what it lacks; licences; and a class that keeps P."""
    base_in(tmp_path)
    for name in ("tokenizer.model", "LICENSE.txt"):
        (tmp_path / "base" / name).write_text(f"the base's {name}")
    assert merge(tmp_path) == 0
    merged, base = tmp_path / "merged", AutoTokenizer.from_pretrained(tmp_path / "base")
    for name in ("tokenizer.model", "LICENSE.txt"):
        assert (merged / name).read_text() == f"the base's {name}"
    tokenizer = AutoTokenizer.from_pretrained(merged)
    virtual = list(range(len(base), len(base) + 5))
    assert tokenizer(TEXT).input_ids == virtual + base(TEXT).input_ids
    added = json.loads((merged / "added_tokens.json").read_text())
    assert [added[f"<|adept_{i}|>"] for i in range(5)] == virtual
    config = json.loads((merged / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"


@pytest.mark.parametrize("scaled", [{}, {"rope_type": "linear", "factor": 4.0}])
def test_positions_turn_alike_in_transformers_4(tmp_path, scaled):
    """Which reads other names, and takes its default where they are missing."""
    base_in(tmp_path)
    path = tmp_path / "base" / "config.json"
    content = json.loads(path.read_text())
    content["rope_parameters"] = {"rope_type": "default", "rope_theta": 77000.0} | scaled
    path.write_text(json.dumps(content))
    assert merge(tmp_path) == 0
    written = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert written["rope_theta"] == 77000.0 and written.get("rope_scaling", {}) == scaled
    found = AutoConfig.from_pretrained(tmp_path / "merged").rope_parameters
    assert found == content["rope_parameters"]


def test_a_tied_head_that_is_stored_all_the_same_is_written_once(tmp_path):
    """Some checkpoints hold it, and in another shard than the table."""
    model = base_in(tmp_path, "llama-tied", shard_size="20KB")
    index = tmp_path / "base" / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["lm_head.weight"] = "model-head.safetensors"
    index.write_text(json.dumps(content))
    head = {"lm_head.weight": get_adapter(model).weight.detach().clone()}
    save_file(head, tmp_path / "base" / "model-head.safetensors", metadata={"format": "pt"})
    assert merge(tmp_path) == 0
    files = sorted((tmp_path / "merged").glob("*.safetensors"))
    holders = [path.name for path in files if "lm_head.weight" in load_file(path)]
    assert holders == ["model-head.safetensors"]
    expected, _ = merge_adapter(model, AutoTokenizer.from_pretrained(MODEL))
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype="auto").state_dict()
    assert_same(found, expected)


@pytest.mark.parametrize("more", [(), ("--dtype", "float32")])
@pytest.mark.parametrize(("name", "shard_size"), [("llama-tied", "50GB"), ("gemma3", "20KB")])
def test_a_head_of_its_own_is_kept_though_the_config_ties_it(tmp_path, name, shard_size, more):
    """transformers runs it; with the table in its place the merged model would say other words."""
    base_in(tmp_path, name, FP32, shard_size)
    store_head(tmp_path / "base")
    stock = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=FP32)
    model = load_adapter(stock.eval(), tmp_path / "adapter")
    assert merge(tmp_path, *more) == 0
    assert json.loads((tmp_path / "base" / "config.json").read_text())["tie_word_embeddings"]
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype="auto").eval()
    assert not found.config.tie_word_embeddings
    ids = AutoTokenizer.from_pretrained(tmp_path / "merged")(TEXT, return_tensors="pt").input_ids
    with torch.no_grad():
        expected = model(ids).logits
        words = expected.shape[-1]
        assert torch.allclose(found(ids).logits[..., :words], expected, rtol=1e-5, atol=1e-5)


def test_added_tokens_of_the_base_stay(tmp_path):
    """A converter that reads the file would else lose them."""
    base_in(tmp_path)
    mine = AutoTokenizer.from_pretrained(MODEL).convert_ids_to_tokens(7)
    (tmp_path / "base" / "added_tokens.json").write_text(json.dumps({mine: 7}))
    assert merge(tmp_path) == 0
    added = json.loads((tmp_path / "merged" / "added_tokens.json").read_text())
    assert added[mine] == 7 and len(added) == 6


def test_the_card_says_what_it_is(tmp_path):
    """Without a run's record too, as of an adapter that was saved from Python."""
    base_in(tmp_path)
    assert merge(tmp_path) == 0
    card = (tmp_path / "merged" / "README.md").read_text()
    assert card.startswith('---\nlibrary_name: "transformers"') and "tuned by adept" in card
    assert "5 trained virtual tokens" in card and "| validation" not in card


@pytest.mark.parametrize("more", [(), ("--dtype", "float32")])
def test_how_the_base_generates_is_kept_as_it_is_written(tmp_path, more):
    """Many bases have a temperature without do_sample, for which transformers refuses to save."""
    base_in(tmp_path)
    given = {"temperature": 0.6, "top_p": 0.9, "eos_token_id": [2, 3], "suppress_tokens": [7]}
    (tmp_path / "base" / "generation_config.json").write_text(json.dumps(given))
    assert merge(tmp_path, *more) == 0
    first = len(AutoTokenizer.from_pretrained(MODEL))
    found = json.loads((tmp_path / "merged" / "generation_config.json").read_text())
    assert found == given | {"suppress_tokens": [7, *range(first, first + 5)]}


def test_a_damaged_generation_config_is_one_line(tmp_path, capsys, monkeypatch):
    """And is found before weights are copied."""
    base_in(tmp_path)
    monkeypatch.setattr("adept_llm.export.merged.write_weights", lambda *_: pytest.fail("copied"))
    capsys.readouterr()
    for content in ("{", "[1]"):
        (tmp_path / "base" / "generation_config.json").write_text(content)
        assert merge(tmp_path) == 2
        error = capsys.readouterr().err
        assert "generation_config.json: is damaged" in error and error.count("\n") == 1
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("more", [(), ("--dtype", "float32")])
def test_a_tokenizer_larger_than_the_table_is_refused_first(tmp_path, capsys, monkeypatch, more):
    """Not when all weights are read or written."""
    base_in(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    tokenizer.add_tokens(["<more>"])
    tokenizer.save_pretrained(tmp_path / "base")
    monkeypatch.setattr("adept_llm.export.merged.write_weights", lambda *_: pytest.fail("copied"))
    monkeypatch.setattr(Tuned, "load_base", lambda _: pytest.fail("loaded"))
    assert merge(tmp_path, *more) == 2
    assert f"tokenizer: has {len(tokenizer)} tokens, the table" in capsys.readouterr().err


def test_a_missing_shard_and_a_full_disk_leave_nothing(tmp_path, capsys, monkeypatch):
    """One line each."""
    base_in(tmp_path, shard_size="20KB")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    assert merge(tmp_path) == 2
    assert "the model needs 0.0 GB" in capsys.readouterr().err
    monkeypatch.undo()
    shard = sorted((tmp_path / "base").glob("*.safetensors"))[1]
    content = shard.read_bytes()
    shard.write_bytes(content[:-5])
    assert merge(tmp_path) == 2 and "is cut short" in capsys.readouterr().err
    shard.unlink()
    assert merge(tmp_path) == 2
    assert f"lacks its shard {shard.name}" in capsys.readouterr().err
    assert not (tmp_path / "merged").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "base"]


@pytest.mark.parametrize("content", ["{", "{}", "[]"])
def test_a_damaged_index_is_one_line_and_leaves_nothing(tmp_path, capsys, content):
    base_in(tmp_path, shard_size="20KB")
    (tmp_path / "base" / "model.safetensors.index.json").write_text(content)
    capsys.readouterr()
    assert merge(tmp_path) == 2
    error = capsys.readouterr().err
    assert "index.json: is damaged" in error and error.count("\n") == 1
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("form", ["hf", "gguf", "lora"])
def test_another_base_leaves_nothing(tmp_path, capsys, monkeypatch, form):
    """Other values, another vocabulary, another width: one line each, and it names what differs."""
    monkeypatch.setattr("adept_llm.export.gguf.find_llama_cpp", lambda given: tmp_path)
    base_in(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    kind, changes = ARCHITECTURES["llama-tied"]
    others = {"values": {"initializer_range": 0.4}, "words": {"vocab_size": len(tokenizer) + 8},
              "width": {"hidden_size": 64}}  # fmt: skip
    for name, change in others.items():
        sizes = {**COMMON, **changes, "vocab_size": len(tokenizer), **change}
        torch.manual_seed(1)
        AutoModelForCausalLM.from_config(
            AutoConfig.for_model(kind, **sizes), dtype=torch.float16
        ).save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
        argv = ["export", tmp_path / "adapter", "--format", form, "--output_dir", tmp_path / "out"]
        assert main([*map(str, argv), "--model_name_or_path", str(tmp_path / name)]) == 2
        told = capsys.readouterr().err.strip().splitlines()
        assert len(told) == 1 and "base" in told[0], told
        assert sorted(p.name for p in tmp_path.iterdir() if "out" in p.name) == []
