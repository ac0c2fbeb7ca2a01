"""Small things that other tests passed over, found by changing the code (`make mutants`)."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from adept_llm import (
    AdeptConfig,
    InputError,
    get_adapter,
    inject_adapter,
    load_adapter,
    merge_adapter,
    save_adapter,
)
from adept_llm.adapters import check_model
from adept_llm.adapters.saved import read_trained
from adept_llm.adapters.virtual_head import VirtualRow
from tests.builders import WIDTH, adapted, embedded, prefixed, small_model
from tests.tokenizers import build_byte_level


def test_an_adapter_that_started_from_a_text_is_loaded_without_it(tmp_path):
    tokenizer = build_byte_level()
    config = AdeptConfig("adept", 3, 2, prompt_init="text", prompt_init_text="a joy")
    model = inject_adapter(small_model("llama"), config, _Few(tokenizer))
    save_adapter(model, tmp_path)
    loaded = load_adapter(small_model("llama"), tmp_path)
    assert get_adapter(loaded).config.prompt_init == "vocab"


class _Few:
    """A tokenizer whose ids fit the small models."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def __call__(self, text, **options):
        found = self.tokenizer(text, **options)
        found["input_ids"] = [token % 90 for token in found["input_ids"]]
        return found


def test_an_empty_prompt_is_not_trained():
    adapter = get_adapter(inject_adapter(small_model("llama"), AdeptConfig("adept", 0, 2)))
    assert [p.requires_grad for p in adapter.prompt_parameters().values()] == [False]
    assert all(p.requires_grad for p in adapter.offset_parameters().values())


def test_a_refused_model_is_named():
    with pytest.raises(InputError, match="LlamaModel has no embedding layer"):
        model = small_model("llama").model
        model.embed_tokens = torch.nn.Linear(2, 2)
        check_model(model)


def test_positions_that_the_caller_gives_count():
    """The same words further on have the offsets of those positions."""
    model = adapted("llama", "dept").eval()
    ids = prefixed(model, length=3)
    m = get_adapter(model).config.num_virtual_tokens
    positions = torch.arange(ids.shape[1]).expand(ids.shape)
    plain, _ = embedded(model, ids)
    same, _ = embedded(model, ids, position_ids=positions)
    moved, _ = embedded(model, ids, position_ids=positions + 1)
    assert torch.equal(plain, same)
    assert not torch.equal(plain[:, m:], moved[:, m:])


def test_a_scaled_layer_is_merged_with_its_scale():
    """Gemma 3 multiplies the rows of its table by sqrt(d)."""
    model = adapted("gemma3", "adept").eval()
    ids = prefixed(model)
    before, _ = embedded(model, ids)
    row = VirtualRow(torch.zeros(WIDTH))  # the tokenizer's ids are not the table's
    merged, _ = merge_adapter(model, _sized(build_byte_level()), row)
    assert torch.equal(merged.get_input_embeddings()(ids), before)


def _sized(tokenizer):
    """As if the small models' table had a row for each of its tokens."""
    tokenizer.__class__ = type("Sized", (type(tokenizer),), {"__len__": lambda self: 0})
    return tokenizer


@pytest.mark.parametrize("add_bos", [True, False])
def test_merged_tokenizers_write_the_prompt_whether_or_not_they_wrote_bos(add_bos):
    """Those without a post-processor get one; what is special is left out of decoded text."""
    tokenizer = build_byte_level(add_bos=add_bos)
    model = small_model("llama")
    model.resize_token_embeddings(len(tokenizer) + 2)
    model = inject_adapter(model, AdeptConfig("adept", 3, 2))
    virtual = get_adapter(model).virtual_token_ids
    _, merged = merge_adapter(model, tokenizer)
    bare = tokenizer("a joy").input_ids
    assert merged("a joy").input_ids == virtual + bare
    assert merged.decode(virtual + bare, skip_special_tokens=True) == "a joy"


def test_frozen_draws_that_are_missing_from_a_file_are_refused_in_a_line(tmp_path):
    """Going on from it would be another prompt."""
    model = adapted("llama", "superpos")
    save_adapter(model, tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    save_file({n: v for n, v in load_file(path).items() if n != "prompt.ids"}, path)
    with pytest.raises(InputError, match=r"another prompt\.ids"):
        read_trained(get_adapter(model), tmp_path)


def test_a_tokenizer_without_a_post_processor_gets_one():
    words = {"<unk>": 0, "</s>": 1, "a": 2, "joy": 3}
    core = Tokenizer(WordLevel(words, unk_token="<unk>"))
    core.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>")
    model = inject_adapter(small_model("llama"), AdeptConfig("adept", 3, 2))
    virtual = get_adapter(model).virtual_token_ids
    _, merged = merge_adapter(model, tokenizer)
    assert merged("a joy").input_ids == [*virtual, 2, 3]


def test_a_rank_that_a_prompt_has_not_is_named():
    with pytest.raises(InputError, match="prompt_rank: adept has no prompt of another rank"):
        AdeptConfig("adept", 3, 2, prompt_rank=4)
