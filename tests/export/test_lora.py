"""ADePT as a LoRA of the embedding layer, read by PEFT, against the injected model."""

import json
import shutil

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from adept_llm import get_adapter, inject_adapter, save_adapter
from adept_llm.adapters import METHODS, AdeptConfig
from adept_llm.cli.main import main
from adept_llm.demo import MODEL
from adept_llm.export.places import free_places
from tests.builders import ARCHITECTURES, COMMON, CONFIGS
from tests.export.test_merged import store_head

TEXT = "The soup was stale."
FP32 = torch.float32


def write_base(folder, name="llama", further=0, reserved=0):
    """A small fp32 base with the demo's tokenizer, and rows or tokens to spare."""
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    tokenizer.add_tokens([f"<|reserved_special_token_{i}|>" for i in range(reserved)])
    kind, changes = ARCHITECTURES[name]
    torch.manual_seed(0)
    rows = len(tokenizer) + further
    config = AutoConfig.for_model(kind, **{**COMMON, **changes, "vocab_size": rows})
    AutoModelForCausalLM.from_config(config, dtype=FP32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_adapter(base, folder, config=CONFIGS["adept"], seed=1):
    """An adapter far from its start, and the injected model."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=FP32)
    model = inject_adapter(model.eval(), config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in get_adapter(model).trained_parameters().values():
            value.add_(0.3 * torch.randn(value.shape, generator=generator))
    save_adapter(model, folder)
    return model


def export(adapter, folder, *more):
    return main(["export", str(adapter), "--format", "lora", "--output_dir", str(folder),
                 *map(str, more)])  # fmt: skip


def base_of(folder):
    return json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]


def loaded(folder):
    """What PEFT makes of it, on the base that it names."""
    base = AutoModelForCausalLM.from_pretrained(base_of(folder), dtype=FP32)
    return PeftModel.from_pretrained(base, folder).eval()


def asked(model, tokenizer, text=TEXT):
    """The ids that an injected model is given for a text."""
    return torch.tensor([get_adapter(model).virtual_token_ids + tokenizer(text).input_ids])


def check_same(model, lora, folder, words):
    """Logits of words, and greedy text, by the tokenizer of the LoRA's folder."""
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    batch = AutoTokenizer.from_pretrained(folder)(TEXT, return_tensors="pt")
    ids = asked(model, tokenizer)
    assert batch.input_ids.shape == ids.shape
    with torch.no_grad():
        expected, found = model(ids).logits, lora(**batch).logits
    assert torch.allclose(found[..., :words], expected[..., :words], rtol=1e-5, atol=1e-5)
    options = {"max_new_tokens": 10, "do_sample": False}
    answers = [
        one.generate(input_ids=given, attention_mask=torch.ones_like(given), **options)
        for one, given in ((model, ids), (lora, batch.input_ids))
    ]
    assert torch.equal(answers[0][:, ids.shape[1] :], answers[1][:, ids.shape[1] :])


# a head of its own, a tied one, and a table whose rows are scaled
@pytest.mark.parametrize("name", ["llama", "llama-tied", "gemma3", "qwen2", "gpt2"])
def test_peft_gives_the_logits_and_the_text_of_the_injected_model(tmp_path, name):
    """On an extended base: none has rows to spare."""
    write_base(tmp_path / "base", name)
    model = write_adapter(tmp_path / "base", tmp_path / "adapter")
    assert export(tmp_path / "adapter", tmp_path / "out") == 0
    assert base_of(tmp_path / "out") == str(tmp_path / "out" / "base")
    check_same(
        model, loaded(tmp_path / "out"), tmp_path / "out", get_adapter(model).table.vocab_size
    )


@pytest.mark.parametrize("method", sorted(METHODS.keys() - {"dept"}))
def test_every_method_but_dept_is_a_lora_of_the_expected_rank(tmp_path, method):
    write_base(tmp_path / "base", further=5)
    model = write_adapter(tmp_path / "base", tmp_path / "adapter", CONFIGS[method])
    assert export(tmp_path / "adapter", tmp_path / "out") == 0
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    ranks = {"adept": 3 + 1, "adept_linear": 3 + 1, "adept_gated": 3 + 1, "embedding_lora": 3}
    assert config["r"] == config["lora_alpha"] == ranks.get(method, 0) + 5
    check_same(
        model, loaded(tmp_path / "out"), tmp_path / "out", get_adapter(model).table.vocab_size
    )


@pytest.mark.parametrize(("further", "reserved"), [(8, 0), (0, 8), (3, 8), (0, 5)])
def test_a_base_with_rows_to_spare_is_used_itself(tmp_path, further, reserved):
    """Rows behind the tokenizer's last token first, then reserved tokens; nothing else is read."""
    write_base(tmp_path / "base", further=further, reserved=reserved)
    model = write_adapter(tmp_path / "base", tmp_path / "adapter")
    assert export(tmp_path / "adapter", tmp_path / "out") == 0
    assert base_of(tmp_path / "out") == str(tmp_path / "base")
    assert not (tmp_path / "out" / "base").exists()
    tokens = len(AutoTokenizer.from_pretrained(tmp_path / "base"))
    first = tokens - reserved
    unused, named = range(tokens, tokens + further), range(first, tokens)
    ids = AutoTokenizer.from_pretrained(tmp_path / "out")(TEXT).input_ids
    assert ids[:5] == [*unused, *named][:5]
    check_same(model, loaded(tmp_path / "out"), tmp_path / "out", first)


def test_reserved_tokens_that_have_a_task_hold_no_prompt():
    """One pads, another stands in the chat template; the rest is in order."""
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    first = len(tokenizer)
    tokenizer.add_tokens([f"<|reserved_special_token_{i}|>" for i in range(5)])
    tokenizer.pad_token = "<|reserved_special_token_1|>"
    tokenizer.chat_template = "{{ '<|reserved_special_token_3|>' + messages[0]['content'] }}"
    _, places = free_places(tokenizer, len(tokenizer), 3)
    assert list(places.values()) == [first, first + 2, first + 4]
    assert free_places(tokenizer, len(tokenizer), 4) is None


def test_a_tied_base_is_extended_even_where_it_has_rows(tmp_path):
    """Else a program that moves the head with the table would answer otherwise."""
    write_base(tmp_path / "base", "llama-tied", further=8)
    write_adapter(tmp_path / "base", tmp_path / "adapter")
    assert export(tmp_path / "adapter", tmp_path / "out") == 0
    config = json.loads((tmp_path / "out" / "base" / "config.json").read_text())
    assert config["tie_word_embeddings"] is False and config["vocab_size"] % 64 == 0
    weights = load_file(tmp_path / "out" / "base" / "model.safetensors")
    old = load_file(tmp_path / "base" / "model.safetensors")["model.embed_tokens.weight"]
    table, head = weights["model.embed_tokens.weight"], weights["lm_head.weight"]
    assert torch.equal(table[: len(old)], old) and torch.equal(head[: len(old)], old)
    assert not table[len(old) :].any() and len(table) - len(old) >= 128


def test_a_head_of_its_own_is_kept_though_the_config_ties_it(tmp_path):
    """On an extended base whose config.json says so, for programs that would tie the base's own."""
    write_base(tmp_path / "base", "llama-tied", further=8)
    store_head(tmp_path / "base")
    model = write_adapter(tmp_path / "base", tmp_path / "adapter")
    assert export(tmp_path / "adapter", tmp_path / "out") == 0
    assert base_of(tmp_path / "out") == str(tmp_path / "out" / "base")
    words = get_adapter(model).table.vocab_size
    check_same(model, loaded(tmp_path / "out"), tmp_path / "out", words)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Two tasks of different m on one extended base, and a third without a prompt."""
    folder = tmp_path_factory.mktemp("shared")
    write_base(folder / "base", "llama-tied")
    configs = {"a": AdeptConfig("adept", 5, 3), "b": AdeptConfig("adept", 2, 4),
               "c": AdeptConfig("embedding_lora", 0, 3)}  # fmt: skip
    models = {}
    for seed, (name, config) in enumerate(configs.items()):
        models[name] = write_adapter(folder / "base", folder / f"adapter-{name}", config, seed + 1)
        more = () if name == "a" else ("--extended_base", folder / "a" / "base")
        assert export(folder / f"adapter-{name}", folder / name, *more) == 0
    return folder, models


def test_adapters_of_several_tasks_are_switched_on_one_base(shared):
    folder, models = shared
    lora = loaded(folder / "a")
    for name in "bc":
        assert base_of(folder / name) == base_of(folder / "a")
        assert not (folder / name / "base").exists()
        lora.load_adapter(folder / name, adapter_name=name)
    words = get_adapter(models["a"]).table.vocab_size
    for name in ("default", "b", "c", "b", "default"):
        lora.set_adapter(name)
        which = "a" if name == "default" else name
        check_same(models[which], lora, folder / which, words)
    with lora.disable_adapter(), torch.no_grad():
        ids = AutoTokenizer.from_pretrained(folder / "a" / "base")(TEXT, return_tensors="pt")
        plain = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=FP32)
        expected, found = plain(**ids).logits, lora(**ids).logits
    assert torch.allclose(found[..., :words], expected, rtol=1e-5, atol=1e-5)


def test_each_row_of_a_batch_has_its_own_adapter(shared):
    """PEFT's mixed batches; rows are padded on the left as any batch is."""
    folder, models = shared
    lora = loaded(folder / "a")
    lora.load_adapter(folder / "b", adapter_name="b")
    words = get_adapter(models["a"]).table.vocab_size
    rows = {name: AutoTokenizer.from_pretrained(folder / name)(TEXT).input_ids for name in "ab"}
    longest = max(map(len, rows.values()))
    pads = {name: longest - len(ids) for name, ids in rows.items()}
    ids = torch.tensor([[0] * pads[name] + rows[name] for name in "ab"])
    mask = torch.tensor([[0] * pads[name] + [1] * len(rows[name]) for name in "ab"])
    with torch.no_grad():
        found = lora(input_ids=ids, attention_mask=mask, adapter_names=["default", "b"]).logits
        for row, name in zip(found, "ab", strict=True):
            expected = models[name](
                asked(models[name], AutoTokenizer.from_pretrained(MODEL))
            ).logits
            got = row[pads[name] :, :words]
            assert torch.allclose(got, expected[0, :, :words], rtol=1e-4, atol=1e-5)


def test_the_tokenizer_of_the_extended_base_puts_nothing_in_front(shared):
    """It is shared by adapters of different m; theirs put their own tokens there."""
    folder, _ = shared
    base = AutoTokenizer.from_pretrained(folder / "base")
    extended = AutoTokenizer.from_pretrained(folder / "a" / "base")
    assert extended(TEXT).input_ids == base(TEXT).input_ids
    first = len(base)
    written = "".join(f"<|adept_{i}|>" for i in range(5))
    ids = extended(written, add_special_tokens=False).input_ids
    assert ids == [*range(first, first + 5)]
    for name, m in (("a", 5), ("b", 2), ("c", 0)):
        own = AutoTokenizer.from_pretrained(folder / name)
        assert own(TEXT).input_ids == [*range(first, first + m)] + base(TEXT).input_ids


def test_an_adapter_of_a_merged_base_has_its_prompt_before_the_old_one(tmp_path):
    """On an extended base, which is written, and then on one that is there."""
    write_base(tmp_path / "base")
    write_adapter(tmp_path / "base", tmp_path / "adapter")
    once = tmp_path / "once"
    argv = ["merge", "--adapter", tmp_path / "adapter", "--output_dir", once]
    assert main([*map(str, argv)]) == 0
    model = write_adapter(once, tmp_path / "second", seed=2)
    assert export(tmp_path / "second", tmp_path / "a") == 0
    extended = ("--extended_base", tmp_path / "a" / "base")
    assert export(tmp_path / "second", tmp_path / "b", *extended) == 0
    ids = asked(model, AutoTokenizer.from_pretrained(once))
    expected = model(ids).logits
    for name in "ab":
        assert AutoTokenizer.from_pretrained(tmp_path / name)(TEXT).input_ids == ids[0].tolist()
        found = loaded(tmp_path / name)(ids).logits[..., : expected.shape[-1]]
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_cards_say_what_they_are_loaded_on(shared):
    folder, _ = shared
    card = (folder / "b" / "README.md").read_text()
    first = len(AutoTokenizer.from_pretrained(folder / "base"))
    assert f"the 2 tokens {first}..{first + 1}" in card and 'library_name: "peft"' in card
    assert "loaded on `base`" in card and str(folder) not in card and "rank 7" in card
    assert "rows of zeros" in (folder / "a" / "base" / "README.md").read_text()


def refused(capsys, *argv):
    assert export(*argv) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_what_does_not_fit_is_one_line_and_leaves_nothing(tmp_path, capsys, shared):
    folder, _ = shared
    write_base(tmp_path / "base", "llama-tied")
    write_adapter(tmp_path / "base", tmp_path / "long", AdeptConfig("prompt_tuning", 300))
    write_adapter(tmp_path / "base", tmp_path / "dept", CONFIGS["dept"])
    extended, out = folder / "a" / "base", tmp_path / "out"
    shutil.copytree(extended, tmp_path / "bare")
    AutoTokenizer.from_pretrained(folder / "base").save_pretrained(tmp_path / "bare")
    (tmp_path / "bare" / "added_tokens.json").unlink()
    b = folder / "adapter-b"
    for argv, said in [
        ((tmp_path / "dept", out), "dept: its offset depends on a word's position"),
        ((b, out, "--dtype", "bfloat16"), "a LoRA is fp32"),
        ((tmp_path / "long", out, "--extended_base", extended), "the adapter needs 300"),
        ((b, out, "--extended_base", folder / "base"), "has no weights with a table and a head"),
        ((b, out, "--extended_base", tmp_path / "bare"), "lacks <|adept_0|>.. behind"),
        ((b, out, "--extended_base", "nowhere"), "extended_base: nowhere is no folder here"),
        ((b, out, "--extended_base", folder), f"extended_base: {folder} has no config.json"),
    ]:
        assert said in refused(capsys, *argv)
    assert not out.exists() and not list(tmp_path.glob(".out*"))
    assert main(["export", str(b), "--format", "hf", "--output_dir", str(out),
                 "--extended_base", str(extended)]) == 2  # fmt: skip
    assert "extended_base: hf knows none" in capsys.readouterr().err


def test_another_base_is_refused_by_its_table(tmp_path, capsys, shared):
    """Same sizes, other values."""
    folder, _ = shared
    shutil.copytree(folder / "a" / "base", tmp_path / "other")
    path = tmp_path / "other" / "model.safetensors"
    tensors = load_file(path)
    tensors["model.embed_tokens.weight"] *= 1.01
    save_file(tensors, path, metadata={"format": "pt"})
    out = tmp_path / "out"
    error = refused(capsys, folder / "adapter-b", out, "--extended_base", tmp_path / "other")
    assert "table of rms" in error and not out.exists()


def test_a_full_disk_leaves_nothing(tmp_path, capsys, monkeypatch):
    write_base(tmp_path / "base", "llama-tied")
    write_adapter(tmp_path / "base", tmp_path / "adapter")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    assert "the model needs" in refused(capsys, tmp_path / "adapter", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "base"]
