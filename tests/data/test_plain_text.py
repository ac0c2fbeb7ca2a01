"""Texts without an answer: which are read, and what is predicted of them."""

import json

import pytest

from adept_llm.data.plain_text import encode_texts, read_texts
from adept_llm.errors import InputError


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_texts_are_read_and_sampled(tmp_path):
    """Other columns, such as a page's title, are passed over."""
    path = written(tmp_path / "w.jsonl", [{"text": f"text {n}", "title": "t"} for n in range(9)])
    assert read_texts(path)[:2] == [("w.jsonl:1", "text 0"), ("w.jsonl:2", "text 1")]
    some = read_texts(path, 3, seed=1)
    assert len(some) == 3 and set(some) < set(read_texts(path))


@pytest.mark.parametrize("row", [{"content": "a"}, {"text": " "}, {"text": 3}, {"text": None}])
def test_a_row_without_text_is_named(tmp_path, row):
    path = written(tmp_path / "w.jsonl", [{"text": "a"}, row])
    with pytest.raises(InputError, match="w.jsonl:2: has no text in column 'text'; fill it or rem"):
        read_texts(path)


@pytest.mark.parametrize("name", ["byte_level", "chatml", "metaspace"])
def test_every_token_but_the_first_is_predicted(tokenizers, name):
    """As the tokenizer writes the text; no EOS, since a text that is cut has no end."""
    tokenizer = tokenizers[name]
    text = "a joy to watch, and a positive, lovely film"
    ids = tokenizer(text).input_ids
    for length in (3, 99):
        (one,) = encode_texts(tokenizer, [("w:1", text)], length)
        assert one.prompt_ids + one.target_ids == ids[:length] and len(one.prompt_ids) == 1
        assert one.truncated == max(0, len(ids) - length) and one.id == "w:1"


def test_texts_of_one_token_predict_nothing(chatml):
    assert len(encode_texts(chatml, [("w:1", "a"), ("w:2", "a joy")], 9)) == 1
    with pytest.raises(InputError, match="^no text has more than 1 tokens to read; give longer"):
        encode_texts(chatml, [("w:1", "a")], 9)
