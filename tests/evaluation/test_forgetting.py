"""Forgetting against the stock model's own loss, and the base with its adapter switched off."""

import json

import pytest
import torch

from adept_llm import AdeptConfig, get_adapter, inject_adapter, save_adapter
from adept_llm.adapters import without_adapter
from adept_llm.base.loading import load_model, load_tokenizer
from adept_llm.cli.main import main
from adept_llm.data.plain_text import encode_texts
from adept_llm.demo import MODEL
from adept_llm.evaluation.forgetting import forgetting
from adept_llm.packing import make_batcher
from tests.builders import ARCHITECTURES, adapted, small_model

TEXTS = ["Mia went to the inn. She had soup.", "The waiter was slow, and Tom was hungry.", "Ana."]


@pytest.mark.parametrize("method", ["adept", "dept", "prompt_tuning"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_without_its_adapter_a_model_is_its_base_bit_for_bit(name, method):
    """Gemma's scale of the rows among it; and afterwards the adapter acts again."""
    ids = torch.randint(3, 96, (2, 7), generator=torch.Generator().manual_seed(3))
    model = adapted(name, method).eval()
    with torch.no_grad():
        tuned = model(ids).logits
        with without_adapter(model):
            assert torch.equal(model(ids).logits, small_model(name)(ids).logits)
        assert torch.equal(model(ids).logits, tuned)
    assert method == "prompt_tuning" or not torch.equal(tuned, small_model(name)(ids).logits)


@pytest.mark.parametrize("packing", ["shared_prefix", "padded"])
def test_forgetting_is_the_difference_of_two_stock_losses(packing):
    """One row at a time: the base by Hugging Face's own loss, the tuned model behind its P."""
    tokenizer = load_tokenizer(str(MODEL))
    model = inject_adapter(load_model(str(MODEL)), AdeptConfig("adept", 5, 3))
    with torch.no_grad():
        for value in get_adapter(model).trained_parameters().values():
            value.add_(0.3 * torch.randn(value.shape, generator=torch.Generator().manual_seed(0)))
    encoded = encode_texts(tokenizer, [(str(n), text) for n, text in enumerate(TEXTS)], 8)
    found = forgetting(model, make_batcher(model, packing), encoded, batch_size=2)
    base, virtual = load_model(str(MODEL)).eval(), get_adapter(model).virtual_token_ids
    totals, count = [0.0, 0.0], 0
    for text in TEXTS:
        ids = tokenizer(text).input_ids[:8]
        count += len(ids) - 1
        for at, (one, prefix) in enumerate(((base, []), (model, virtual))):
            with torch.no_grad():
                logits = one(torch.tensor([prefix + ids])).logits[0, len(prefix) : -1]
            loss = torch.nn.functional.cross_entropy(
                logits.double(), torch.tensor(ids[1:]), reduction="sum"
            )
            totals[at] += loss.item()
    expected = {"base_text_loss": totals[0] / count, "text_loss": totals[1] / count}
    expected["forgetting"] = expected["text_loss"] - expected["base_text_loss"]
    assert found == pytest.approx(expected, rel=1e-4) and abs(found["forgetting"]) > 0.01


def test_the_command_says_it(tmp_path, capsys):
    """An offset that is zero and no virtual tokens forget nothing."""
    folder = save_adapter(
        inject_adapter(load_model(str(MODEL)), AdeptConfig("adept", 0, 3)), tmp_path / "adapter"
    )
    path = tmp_path / "wiki.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    argv = ["evaluate", "--adapter", folder, "--text_file", path, "--max_length", 6]
    argv += ["--output_file", tmp_path / "metrics.json"]
    capsys.readouterr()
    assert main([*map(str, argv)]) == 0
    out = capsys.readouterr().out
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found["forgetting"] == 0.0 and found["text_loss"] == found["base_text_loss"] > 0
    assert "2 texts cut" in out and "forgetting 0.0000" in out


@pytest.mark.parametrize(
    "options, message",
    [
        (["--file", "x.jsonl", "--text_file", "y.jsonl"], "--task or --file or --text_file"),
        (["--text_file", "y.jsonl", "--split", "test"], "split: goes with --task"),
        (["--text_file", "y.jsonl", "--predictions_file", "p.jsonl"], "text has no answers"),
    ],
)
def test_what_does_not_go_with_plain_text(capsys, options, message):
    assert main(["evaluate", "--adapter", "nowhere", *options]) == 2
    assert message in capsys.readouterr().err
