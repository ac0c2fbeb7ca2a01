"""The Rust tokenizer inside one of transformers can be replaced."""

import json

from adept_llm.compat.tokenizers import with_backend


def test_a_copy_works_by_another_tokenizer_json(make_byte_level):
    tokenizer = make_byte_level()
    before = tokenizer("a b").input_ids
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    content["post_processor"] = None
    bare = with_backend(tokenizer, json.dumps(content))
    assert before[0] == tokenizer.bos_token_id and bare("a b").input_ids == before[1:]
    assert tokenizer("a b").input_ids == before
    assert bare.eos_token_id == tokenizer.eos_token_id
