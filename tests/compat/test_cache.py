"""A cache is found under the name that this transformers gives it, and under the other."""

import pytest
import torch
from transformers import DynamicCache

from adept_llm import AdeptConfig, get_adapter, inject_adapter
from adept_llm.adapters.insertion import _insert
from adept_llm.adapters.positions import _tell
from adept_llm.compat.cache import NEWER, OLDER, cache_of, given_cache
from adept_llm.compat.transformers import cache_argument
from tests.builders import small_model

WORDS = torch.tensor([[5, 6, 7], [8, 9, 10]])


def test_a_model_gives_a_cache_back_and_goes_on_from_it():
    """By the name that it has, without a warning of an older one."""
    model = small_model("llama")
    with torch.no_grad():
        whole = model(WORDS, use_cache=True)
        begun = model(WORDS[:, :2], use_cache=True)
        went_on = model(WORDS[:, 2:], **{cache_argument(): cache_of(begun)})
    assert cache_of(begun).get_seq_length() == 3  # the last call made it longer
    torch.testing.assert_close(went_on.logits[:, -1], whole.logits[:, -1])


def test_none_is_found_where_there_is_none():
    assert given_cache({"input_ids": WORDS}) is None and cache_of(object()) is None


@pytest.mark.parametrize("name", [OLDER, NEWER])
@pytest.mark.parametrize("method", ["adept", "dept"])
def test_words_that_follow_a_cache_are_not_given_p_again(name, method):
    """Nor are their positions counted from 0."""
    model = inject_adapter(small_model("llama"), AdeptConfig(method, 4, 3, offset_positions=16))
    with torch.no_grad():
        cache = cache_of(model(WORDS[:, :2], use_cache=True))
    assert isinstance(cache, DynamicCache) and cache.get_seq_length() == 2 + 4
    given = {"input_ids": WORDS[:, 2:], name: cache}
    _, arguments = _insert(model, (), given)
    assert torch.equal(arguments["input_ids"], WORDS[:, 2:])
    _tell(model, (), given)
    assert get_adapter(model).call.told["position_ids"].tolist() == [[6]]
