"""adept-llm import: adapters of other tools, for the commands of this one."""

import json

import torch
from transformers import AutoModelForCausalLM

from adept_llm import get_adapter, load_adapter
from adept_llm.cli.main import main
from adept_llm.tuned import Tuned
from tests.adapters.test_foreign import CASES, written
from tests.export.test_lora import write_base


def import_(source, folder, *more):
    return main(["import", str(source), "--output_dir", str(folder), *map(str, more)])


def test_an_imported_adapter_is_the_one_that_load_adapter_reads(tmp_path):
    """The same rows; and the base is known from now on, by its table."""
    write_base(tmp_path / "base")
    (tmp_path / "theirs").mkdir()
    kind, offsets, _, _ = CASES["ADePT"]
    written(tmp_path / "theirs", kind, offsets, base_model_name_or_path=str(tmp_path / "base"))
    assert import_(tmp_path / "theirs", tmp_path / "in") == 0
    layers = []
    for name in ("theirs", "in"):
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32).eval()
        layers.append(get_adapter(load_adapter(model, tmp_path / name)))
    ids = torch.arange(layers[0].table.vocab_size + 5)[None]
    assert torch.equal(layers[0](ids), layers[1](ids))
    tuned = Tuned.open(tmp_path / "in")
    assert tuned.config.method == "adept" and tuned.table.rms == layers[0].table.rms


def test_a_base_that_the_adapter_names_and_is_gone_is_told_so(tmp_path, capsys):
    """The user named none."""
    (tmp_path / "theirs").mkdir()
    written(tmp_path / "theirs", "PROMPT_TUNING", {}, base_model_name_or_path=str(tmp_path / "b"))
    assert import_(tmp_path / "theirs", tmp_path / "in") == 2
    error = capsys.readouterr().err
    assert f"(the adapter {tmp_path / 'theirs'} names it)" in error and error.count("\n") == 1


def test_what_cannot_be_imported_is_one_line_and_leaves_nothing(tmp_path, capsys):
    write_base(tmp_path / "base")
    for name in ("theirs", "own", "t5", "other"):
        (tmp_path / name).mkdir()
    written(tmp_path / "theirs", "PROMPT_TUNING", {}, base_model_name_or_path=None)
    (tmp_path / "own" / "adapter_config.json").write_text('{"adapter": {}, "base_model": {}}')
    config = {"model_type": "t5", "is_encoder_decoder": True}
    (tmp_path / "t5" / "config.json").write_text(json.dumps(config))
    from transformers import LlamaConfig, LlamaForCausalLM

    small = LlamaConfig(hidden_size=16, intermediate_size=8, num_hidden_layers=1, vocab_size=9,
                        num_attention_heads=2)  # fmt: skip
    LlamaForCausalLM(small).save_pretrained(tmp_path / "other")
    for source, base, said in [
        ("theirs", None, "the adapter names no base model; give it"),
        ("own", None, "is used as it is"),
        ("nothing", None, "has no adapter_config.json of PEFT"),
        ("theirs", "t5", "is an encoder-decoder"),
        ("theirs", "other", "the adapter's width is 32"),
    ]:
        more = ["--model_name_or_path", tmp_path / base] if base else []
        assert import_(tmp_path / source, tmp_path / "new" / "in", *more) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and said in error
    assert not (tmp_path / "new").exists()
