"""The starts of a prompt; the standard normal one is in test_units.py."""

import pytest
import torch

from adept_llm import AdeptConfig, InputError, get_adapter, inject_adapter, save_adapter
from adept_llm.base.loading import load_tokenizer
from adept_llm.demo import MODEL
from tests.builders import VOCAB, WIDTH, small_model


def prompt_of(config, name="llama", tokenizer=None):
    """P in the table's own units, and the table."""
    adapter = get_adapter(inject_adapter(small_model(name), config, tokenizer))
    return adapter.prompt_rows(torch.float32).detach(), adapter.weight.detach()


def distances(prompt, table):
    return (prompt[:, None] - table[None]).norm(dim=-1)  # cdist cancels digits


def test_vocab_takes_distinct_rows_of_the_table():
    prompt, table = prompt_of(AdeptConfig("prompt_tuning", 20))
    match = distances(prompt, table) < 1e-5
    assert match.any(1).all() and match.int().argmax(1).unique().numel() == 20
    again, _ = prompt_of(AdeptConfig("prompt_tuning", 20))
    other, _ = prompt_of(AdeptConfig("prompt_tuning", 20, init_seed=1))
    assert torch.equal(prompt, again) and not torch.equal(prompt, other)


def test_vocab_with_more_tokens_than_rows():
    prompt, table = prompt_of(AdeptConfig("prompt_tuning", VOCAB + 5))
    assert (distances(prompt, table).min(1).values < 1e-5).all()


def test_text_is_repeated_to_length():
    tokenizer = load_tokenizer(str(MODEL))
    text = "a lovely"
    ids = [i for i in tokenizer(text, add_special_tokens=False).input_ids]
    config = AdeptConfig(
        "prompt_tuning", 2 * len(ids) + 1, prompt_init="text", prompt_init_text=text
    )

    class Small:
        """Ids that fit the small model's vocabulary."""

        def __call__(self, text, add_special_tokens):
            return type("", (), {"input_ids": [i % VOCAB for i in ids]})

    prompt, table = prompt_of(config, tokenizer=Small())
    expected = table[[i % VOCAB for i in ids * 3][: 2 * len(ids) + 1]]
    assert torch.allclose(prompt, expected, atol=1e-6)
    with pytest.raises(InputError, match="tokenizer"):
        prompt_of(config)


def test_normal_has_the_tables_own_size():
    prompt, table = prompt_of(AdeptConfig("prompt_tuning", 2000, prompt_init="normal"))
    rms = table.square().mean().sqrt()
    assert prompt.square().mean().sqrt() == pytest.approx(rms.item(), rel=0.02)


def test_transfer_from_an_adapter_of_another_scale(tmp_path):
    """The prompt moves in plain units, whatever the two tables' rms."""
    source = inject_adapter(small_model("qwen2"), AdeptConfig("adept", 6, 3))
    save_adapter(source, tmp_path)
    config = AdeptConfig("dept", 6, 3, prompt_init="adapter", prompt_init_adapter=str(tmp_path))
    prompt, _ = prompt_of(config, "llama-tied")
    assert torch.allclose(prompt, get_adapter(source).prompt_rows(torch.float32), atol=1e-6)


def test_transfer_of_another_length_is_refused(tmp_path):
    save_adapter(inject_adapter(small_model("llama"), AdeptConfig("adept", 6, 3)), tmp_path)
    config = AdeptConfig("adept", 5, 3, prompt_init="adapter", prompt_init_adapter=str(tmp_path))
    with pytest.raises(InputError, match=rf"\(6, {WIDTH}\).*--num_virtual_tokens 6"):
        prompt_of(config)


def test_a_prompt_without_rows_of_its_own_cannot_be_transferred(tmp_path):
    save_adapter(inject_adapter(small_model("llama"), AdeptConfig("dpt", 6)), tmp_path)
    config = AdeptConfig("adept", 6, 3, prompt_init="adapter", prompt_init_adapter=str(tmp_path))
    with pytest.raises(InputError, match="makes its prompt from other values"):
        prompt_of(config)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"prompt_init": "zeros"}, "unknown"),
        ({"prompt_init": "text"}, "prompt_init_text"),
        ({"prompt_init_adapter": "x"}, "not 'adapter'"),
    ],
)
def test_wrong_choices(given, message):
    with pytest.raises(InputError, match=message):
        AdeptConfig(**given)
