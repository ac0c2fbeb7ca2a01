"""Habits of tokenizers: BOS once, and exactly the white space that is asked for."""

import json

import pytest
from tokenizers import Tokenizer, pre_tokenizers

from adept_llm.data.tokens import Splitter

TEXTS = ["x", " x", "   x", "\nx", "\n\n x", " \nx", "\tx", "é", " é"]
BYTE_NAMES = ("byte_level", "metaspace", "merging")


def test_the_prefix(tokenizers):
    """BOS where the tokenizer adds one by itself, and only there."""
    assert Splitter(tokenizers["chatml"]).prefix == []
    for name in BYTE_NAMES:
        assert Splitter(tokenizers[name]).prefix == [tokenizers[name].bos_token_id]


def test_a_prompt_that_begins_with_bos_gets_no_second_one(byte_level):
    """Chat templates print it themselves; models have never seen two."""
    first, second = Splitter(byte_level).prompts(["a joy", "<s>a joy"])
    assert first.ids == second.ids and first.ids.count(1) == 1
    assert len(first.spans) == len(first.ids)


@pytest.mark.parametrize("name", BYTE_NAMES)
@pytest.mark.parametrize("text", TEXTS)
def test_a_continuation_reads_as_its_text(tokenizers, name, text):
    """Behind a prompt, with neither a space more nor one less."""
    tokenizer = tokenizers[name]
    splitter = Splitter(tokenizer)
    (ids,) = splitter.continuations([text])
    prompt = splitter.prompts(["A:"])[0].ids[1:]
    assert tokenizer.decode(prompt + ids).lstrip() == f"A:{text}"


@pytest.mark.parametrize("text", TEXTS)
def test_a_byte_level_tokenizer_that_adds_a_space(make_byte_level, text):
    """Its habit is SentencePiece's."""
    tokenizer = make_byte_level()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    (ids,) = Splitter(tokenizer).continuations([text])
    assert tokenizer.decode(ids) == text


def test_a_token_that_holds_the_line_break_too_is_not_used(metaspace):
    """Dropping it would lose the target's first characters."""
    state = json.loads(metaspace.backend_tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    for token in ("\n", "\nj"):
        vocabulary[token] = len(vocabulary)
    state["model"]["merges"].insert(0, ["\n", "j"])
    tokenizer = type(metaspace)(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), eos_token="</s>", bos_token="<s>"
    )
    assert "\nj" in tokenizer.tokenize("\njoy")
    (ids,) = Splitter(tokenizer).continuations(["joy"])
    assert tokenizer.decode(ids) == "joy"
