"""Adapters of PEFT, and of DePT's and ADePT's authors, against what their code computes."""

import json
import math

import pytest
import torch
from peft import PeftModel, PromptTuningConfig, get_peft_model
from safetensors.torch import save_file

from adept_llm import AdeptConfig, InputError, get_adapter, inject_adapter, load_adapter
from adept_llm.adapters import read_adapter
from adept_llm.adapters.foreign import read_foreign
from tests.builders import VOCAB, WIDTH, small_model

M, R, S = 5, 3, 6


def values(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return 0.3 * torch.randn(*shape, generator=generator)


def written(folder, kind, offsets, **more):
    """A folder as their save_pretrained leaves it; names of their state dict."""
    content = {"peft_type": kind, "base_model_name_or_path": "org/base", "num_virtual_tokens": M,
               "token_dim": WIDTH, "lora_alpha": 8, "max_length": S, "r": R, **more}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(content))
    state = {"prompt_embeddings": values(M, WIDTH, seed=1)}
    state |= {f"prompt_encoder.lora_embedding_{name}": value for name, value in offsets.items()}
    torch.save({n: torch.nn.Parameter(v) for n, v in state.items()}, folder / "adapter_model.bin")
    return state["prompt_embeddings"]


def words(length=9):
    return torch.randint(3, VOCAB, (1, length), generator=torch.Generator().manual_seed(2))


def theirs(prompt, offset):
    """Logits of the base that is given P and E + offset(E) as embeddings, as their forward does."""
    model = small_model("llama")
    rows = model.get_input_embeddings()(words())
    with torch.no_grad():
        return model(inputs_embeds=torch.cat([prompt[None], rows + offset(rows)], 1)).logits


def ours(folder):
    model = load_adapter(small_model("llama"), folder)
    ids = torch.cat([torch.tensor([get_adapter(model).virtual_token_ids]), words()], 1)
    with torch.no_grad():
        return model(ids).logits


A, B = values(WIDTH, R), values(R, WIDTH)
LOWER_A, LOWER_B = values(R), values(WIDTH)
BY_PLACE = values(S, R, seed=3)


def by_place(rows):
    offset = torch.zeros_like(rows)
    offset[:, :S] = 8 / math.sqrt(R) * (BY_PLACE @ B)
    return offset


CASES = {
    "ADePT": (
        "PROMPT_TUNING_LORAX", {"A": A, "B": B, "a": LOWER_A, "b": LOWER_B},
        lambda rows: torch.relu(rows @ A + LOWER_A) @ B + LOWER_B, "adept",
    ),
    "DePT": ("PROMPT_TUNING_LORA", {"A": BY_PLACE, "B": B}, by_place, "dept"),
    "DePT as in ADePT's repository": (
        "PROMPT_TUNING_LORA", {"A": A, "B": B}, lambda rows: torch.relu(rows @ A) @ B, "adept",
    ),
    "PEFT's old file": ("PROMPT_TUNING", {}, torch.zeros_like, "prompt_tuning"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_an_adapter_of_the_authors_computes_what_their_code_does(tmp_path, name):
    kind, offsets, formula, method = CASES[name]
    prompt = written(tmp_path, kind, offsets)
    assert read_foreign(tmp_path).config.method == method
    assert torch.allclose(ours(tmp_path), theirs(prompt, formula), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["llama-tied", "gemma3"])
def test_an_adapter_of_peft_is_loaded(tmp_path, name):
    """Gemma scales its rows in the layer, and PEFT's prompt comes behind it."""
    torch.manual_seed(1)
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=M)
    peft = get_peft_model(small_model(name), config).eval()
    peft.save_pretrained(tmp_path)
    model = load_adapter(small_model(name), tmp_path)
    ids = torch.cat([torch.tensor([get_adapter(model).virtual_token_ids]), words()], 1)
    with torch.no_grad():
        expected, found = peft(input_ids=words()).logits, model(ids).logits
        again = PeftModel.from_pretrained(small_model(name), tmp_path)(input_ids=words()).logits
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(again, expected)


def test_a_prompt_starts_from_any_of_them(tmp_path):
    prompt = written(tmp_path, "PROMPT_TUNING_LORAX", CASES["ADePT"][1])
    config = AdeptConfig("adept", M, 2, prompt_init="adapter", prompt_init_adapter=str(tmp_path))
    layer = get_adapter(inject_adapter(small_model("llama"), config))
    assert torch.allclose(layer.prompt_rows(torch.float32), prompt, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("kind", "offsets", "more", "said"),
    [
        ("LORA", {}, {}, "is PEFT's LORA, which no method here computes"),
        ("PROMPT_TUNING_LORAX", {"A": A, "B": B}, {}, "neither DePT's nor ADePT's layout"),
        ("PROMPT_TUNING_LORAX", {"A": A, "B": B, "a": LOWER_A, "b": LOWER_B, "C": A}, {}, "'C'"),
        ("PROMPT_TUNING_LORA", {"A": BY_PLACE, "B": B}, {"max_length": 7}, "neither"),
        # rows by place or by width: the shapes do not say
        ("PROMPT_TUNING_LORA", {"A": A, "B": B}, {"max_length": WIDTH}, "neither"),
        ("PROMPT_TUNING", {"A": A}, {}, "neither"),
        ("PROMPT_TUNING_LORA", {"A": BY_PLACE[:, :0], "B": B[:0]}, {}, "neither"),
        ("PROMPT_TUNING_LORA", {"A": BY_PLACE, "B": B}, {"lora_alpha": None}, "lora_alpha is None"),
        ("PROMPT_TUNING", {}, {"base_model_name_or_path": 5}, "its base as 5"),
    ],
)
def test_other_layouts_are_refused_in_one_line(tmp_path, kind, offsets, more, said):
    written(tmp_path, kind, offsets, **more)
    with pytest.raises(InputError, match=said) as error:
        load_adapter(small_model("llama"), tmp_path)
    assert "\n" not in str(error.value)


class Code:
    """Runs when a pickle is read without weights_only."""

    def __reduce__(self):
        return (eval, ("1 + 1",))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"prompt_embeddings": Code()}, "holds more than tensors"),
        ({"other": torch.ones(2)}, "holds no prompt_embeddings"),
        ({"prompt_embeddings": torch.full((M, WIDTH), float("nan"))}, "not finite"),
        (b"", "is damaged"),
        (b"PK\x03\x04 cut short", "is damaged"),
        (b"hello world", "is damaged"),
        (b"\x80\x02X\x01\x00\x00\x00\xff.", "is damaged"),
        (b"\x80\x02}q\x00.", "is damaged|holds"),
        ({0: torch.ones(2)}, "other things than tensors by name"),
        ({"prompt_embeddings": 3}, "other things than tensors by name"),
        ([torch.ones(2)], "other things than tensors by name"),
        (None, "has neither adapter_model.safetensors nor adapter_model.bin"),
    ],
)
def test_files_that_are_no_adapter_are_refused(tmp_path, content, said):
    written(tmp_path, "PROMPT_TUNING", {})
    path = tmp_path / "adapter_model.bin"
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        torch.save(content, path)
    with pytest.raises(InputError, match=said):
        load_adapter(small_model("llama"), tmp_path)


def test_commands_that_want_an_own_adapter_say_how_to_have_one(tmp_path):
    written(tmp_path, "PROMPT_TUNING", {})
    with pytest.raises(InputError, match="another tool's; `adept-llm import` converts it"):
        read_adapter(tmp_path)


def test_an_adapter_of_another_width_is_refused(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "PROMPT_TUNING"}')
    save_file({"prompt_embeddings": torch.ones(2, 7)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(InputError, match=rf"\(2, 7\).*\(2, {WIDTH}\)"):
        load_adapter(small_model("llama"), tmp_path)
