"""Prompts in PEFT's format: out, through PEFT, and back."""

import json
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from adept_llm import get_adapter, load_adapter
from adept_llm.cli.main import main
from adept_llm.compat.cache import NEWER
from adept_llm.compat.transformers import cache_argument
from adept_llm.demo import MODEL
from adept_llm.tuned import Tuned
from tests.builders import CONFIGS
from tests.export.test_lora import FP32, TEXT, asked, write_adapter, write_base


def exported(folder, config, name="llama-tied"):
    write_base(folder / "base", name)
    model = write_adapter(folder / "base", folder / "adapter", config)
    assert main(["export", str(folder / "adapter"), "--format", "peft", "--output_dir",
                 str(folder / "out")]) == 0  # fmt: skip
    return model


def stock(folder):
    return AutoModelForCausalLM.from_pretrained(folder / "base", dtype=FP32).eval()


CASES = [("prompt_tuning", name) for name in ("llama-tied", "gemma3", "gpt2")]
CASES += [(method, "llama-tied") for method in ("dpt", "superpos", "ulpt")]


@pytest.fixture(params=CASES, ids="-".join)
def asked_in_both(request, tmp_path):
    """PEFT's model with its batch, the injected model with its ids."""
    method, name = request.param
    model = exported(tmp_path, CONFIGS[method], name)
    peft = PeftModel.from_pretrained(stock(tmp_path), tmp_path / "out").eval()
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    return peft, tokenizer(TEXT, return_tensors="pt"), model, asked(model, tokenizer)


def test_peft_gives_the_logits_of_the_injected_model(asked_in_both):
    peft, batch, model, ids = asked_in_both
    with torch.no_grad():
        assert torch.allclose(peft(**batch).logits, model(ids).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.xfail(
    cache_argument() == NEWER and version("peft") <= "0.21.2",
    reason="PEFT looks for the cache by its older name (docs/troubleshooting.md)",
    strict=True,
)
def test_peft_gives_the_text_of_the_injected_model(asked_in_both):
    peft, batch, model, ids = asked_in_both
    options = {"max_new_tokens": 10, "do_sample": False}
    answer = model.generate(ids, attention_mask=torch.ones_like(ids), **options)
    assert torch.equal(
        peft.generate(**batch, **options)[:, batch.input_ids.shape[1] :], answer[:, ids.shape[1] :]
    )


def test_what_goes_out_and_comes_in_again_is_the_same_prompt(tmp_path):
    """By `adept-llm import`, of what PEFT itself read and saved again."""
    model = exported(tmp_path, CONFIGS["prompt_tuning"], "gemma3")
    peft = PeftModel.from_pretrained(stock(tmp_path), tmp_path / "out")
    peft.save_pretrained(tmp_path / "again")
    assert main(["import", str(tmp_path / "again"), "--output_dir", str(tmp_path / "in")]) == 0
    back = load_adapter(stock(tmp_path), tmp_path / "in")
    expected = get_adapter(model).prompt_rows(FP32)
    assert torch.allclose(get_adapter(back).prompt_rows(FP32), expected, rtol=1e-6, atol=1e-7)
    ids = asked(model, AutoTokenizer.from_pretrained(MODEL))
    with torch.no_grad():
        assert torch.allclose(back(ids).logits, model(ids).logits, rtol=1e-5, atol=1e-5)
    assert main(["export", str(tmp_path / "in"), "--format", "peft", "--output_dir",
                 str(tmp_path / "third")]) == 0  # fmt: skip
    first, third = (load_file(tmp_path / n / "adapter_model.safetensors") for n in ("out", "third"))
    assert torch.allclose(first["prompt_embeddings"], third["prompt_embeddings"], rtol=1e-6)


def test_a_method_with_an_offset_is_sent_to_lora(tmp_path, capsys):
    write_base(tmp_path / "base")
    write_adapter(tmp_path / "base", tmp_path / "adapter")
    argv = ["export", str(tmp_path / "adapter"), "--format", "peft", "--output_dir"]
    assert main([*argv, str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "has no offset, which adept has; take --format lora" in error
    assert not (tmp_path / "out").exists()


def test_a_base_by_a_relative_path_is_found_from_elsewhere(tmp_path, monkeypatch):
    """In what is exported and imported; PEFT and the commands here may run in any folder."""
    monkeypatch.chdir(tmp_path)
    write_base(Path("base"))
    write_adapter(Path("base"), Path("adapter"), CONFIGS["prompt_tuning"])
    for words in ("export adapter --format peft --output_dir out --model_name_or_path base",
                  "import out --output_dir in --model_name_or_path base"):  # fmt: skip
        assert main(words.split()) == 0
    monkeypatch.chdir(tmp_path / "out")
    named = json.loads(Path("adapter_config.json").read_text())["base_model_name_or_path"]
    assert named == Tuned.open(tmp_path / "in").name_or_path == str(tmp_path / "base")


def test_the_folder_names_the_base_and_its_sizes(tmp_path):
    exported(tmp_path, CONFIGS["ulpt"], "llama-grouped")
    content = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert content["base_model_name_or_path"] == str(tmp_path / "base")
    assert (content["num_virtual_tokens"], content["token_dim"], content["num_layers"]) == (
        5,
        32,
        2,
    )
    assert 'library_name: "peft"' in (tmp_path / "out" / "README.md").read_text()
