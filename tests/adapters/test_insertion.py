"""A call with words alone is the call with P in front, seen from the words."""

import copy

import pytest
import torch
import torch.nn.functional as F
from transformers import DynamicCache, StaticCache, TextStreamer

from adept_llm import AdeptConfig, InputError, get_adapter, inject_adapter, merge_adapter
from adept_llm.adapters import insertion, without_adapter
from adept_llm.base.loading import load_model, load_tokenizer
from adept_llm.demo import MODEL
from adept_llm.packing import make_batcher
from tests.builders import (
    ARCHITECTURES,
    VOCAB,
    adapted,
    both,
    loss_and_gradients,
    make_examples,
    prefixed,
    small_model,
)

M = 5
NEW = 6
OPTIONS = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False, "pad_token_id": 0}


def left_padded(words, pads=3):
    """The same rows behind padding, and their mask."""
    pad = torch.zeros(len(words), pads, dtype=torch.long)
    return torch.cat([pad, words], 1), torch.cat([pad, torch.ones_like(words)], 1)


PAIRS = [(name, "adept") for name in ARCHITECTURES]
PAIRS += [(name, "dept") for name in ("llama", "gpt2", "opt", "gemma3")]


@pytest.mark.parametrize(("name", "method"), PAIRS)
def test_words_alone_are_read_and_continued_as_behind_p(name, method):
    """INV 1, INV 2; else a caller who knows of no virtual tokens gets another model's text."""
    model = adapted(name, method)
    ids = prefixed(model)
    words, mask = ids[:, M:], torch.ones_like(ids)
    expected = model(ids).logits
    found = model(words)
    assert torch.allclose(found.logits, expected[:, M:], atol=1e-5)
    padded, padded_mask = left_padded(words)
    positions = (padded_mask.cumsum(-1) - 1).clamp(min=0)
    found = model(padded, attention_mask=padded_mask, position_ids=positions)
    assert torch.allclose(found.logits[:, 3:], expected[:, M:], atol=1e-4)
    for beams in (1, 2):
        options = {**OPTIONS, "num_beams": beams}
        expected = model.generate(ids, attention_mask=mask, **options)[:, M:]
        assert torch.equal(model.generate(words, attention_mask=mask[:, M:], **options), expected)
        found = model.generate(padded, attention_mask=padded_mask, **options)
        assert torch.equal(found[:, 3:], expected)
        found = model.generate(words, attention_mask=mask[:, M:], use_cache=False, **options)
        assert torch.equal(found, expected)


@pytest.mark.parametrize("side", ["none", "left", "right"])
def test_the_loss_is_the_stock_one_of_what_comes_back(side):
    """And each gradient that of the row with P; Trainer counts targets on the same columns."""
    model = adapted()
    words = prefixed(model)[:, M:]
    labels, mask = words.clone(), torch.ones_like(words)
    if side != "none":
        row = torch.zeros(2, 3, dtype=torch.long)
        order = [row, words] if side == "left" else [words, row]
        labels = torch.cat([torch.full_like(row, -100) if x is row else x for x in order], 1)
        mask = torch.cat([torch.zeros_like(row) if x is row else mask for x in order], 1)
        words = torch.cat(order, 1)
    out = model(words, attention_mask=mask, labels=labels)
    out.loss.backward()
    gradients = [p.grad.clone() for p in get_adapter(model).trained_parameters().values()]
    expected = F.cross_entropy(out.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    assert torch.allclose(out.loss, expected)
    model.zero_grad()
    bare = prefixed(model)
    logits = model(bare).logits
    first = M if side != "left" else M - 1  # padding stands before the first word: a target
    F.cross_entropy(logits[:, first:-1].flatten(0, 1), bare[:, first + 1 :].flatten()).backward()
    again = [p.grad for p in get_adapter(model).trained_parameters().values()]
    assert all(torch.allclose(x, y, atol=1e-6) for x, y in zip(gradients, again, strict=True))


def test_gradient_checkpointing_reads_the_same_rows():
    model = adapted()
    words = prefixed(model)[:, M:]
    plain = model(words, labels=words).loss
    model.gradient_checkpointing_enable()
    model.train()
    loss = model(words, labels=words, use_cache=False).loss
    loss.backward()
    assert torch.allclose(loss, plain, atol=1e-6)
    assert get_adapter(model).prompt.weight.grad.any()


def test_rows_that_hold_p_are_left_alone(monkeypatch):
    """Packed and padded batches of this toolkit, and its decoding, go the way they went."""
    model = adapted()

    def fail(*call):
        raise AssertionError("inserted")

    monkeypatch.setattr(insertion, "_first", fail)
    monkeypatch.setattr(insertion, "_next", fail)
    both(model, make_examples([(3, 2), (5, 1)]))
    ids = prefixed(model)
    model.generate(ids, attention_mask=torch.ones_like(ids), **OPTIONS)
    prefix = model(ids[:1, :M], use_cache=True).past_key_values
    model.generate(ids[:1], attention_mask=torch.ones_like(ids[:1]), past_key_values=prefix)
    packed = make_batcher(model)(make_examples([(3, 2)]))["inputs"]
    monkeypatch.setattr(torch.Tensor, "tolist", fail)
    model(**packed)  # not even looked at, which would wait for a GPU


def test_a_padded_batch_loses_as_much_as_the_stock_loss_says():
    """The toolkit's own loss, and that of a caller who knows of no virtual tokens."""
    model, examples = adapted(), make_examples([(3, 2), (5, 4)])
    expected, _ = loss_and_gradients(model, make_batcher(model), examples)
    rows = [e.prompt_ids + e.target_ids for e in examples]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    labels = torch.tensor(
        [
            [-100] * len(e.prompt_ids) + e.target_ids + [-100] * (width - len(row))
            for e, row in zip(examples, rows, strict=True)
        ]
    )
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    assert model(ids, attention_mask=mask, labels=labels).loss.item() == pytest.approx(expected)


def test_without_the_adapter_nothing_is_inserted():
    model, base = adapted(), small_model("llama-grouped")
    words = prefixed(model)[:, M:]
    with without_adapter(model):
        assert torch.equal(model(words).logits, base(words).logits)
        found = model.generate(words, attention_mask=torch.ones_like(words), **OPTIONS)
    assert torch.equal(found, base.generate(words, **OPTIONS))


def test_what_is_kept_stands_where_it_was_asked_for():
    model = adapted()
    words = prefixed(model)[:, M:]
    logits = model(words).logits
    assert torch.allclose(model(words, logits_to_keep=2).logits, logits[:, -2:], atol=1e-6)
    for kept in (torch.tensor([1, 4]), torch.tensor([2, -1])):
        assert torch.allclose(model(words, logits_to_keep=kept).logits, logits[:, kept], atol=1e-6)
    states = model(words, output_hidden_states=True).hidden_states
    assert {state.shape[1] for state in states} == {words.shape[1]}


def test_arguments_may_be_given_by_place():
    model = adapted()
    words = prefixed(model)[:, M:]
    padded, mask = left_padded(words)
    expected = model(input_ids=padded, attention_mask=mask).logits
    assert torch.equal(model(padded, mask).logits, expected)


@pytest.mark.parametrize("pad", [VOCAB, VOCAB + 50])
@pytest.mark.parametrize("padded", [[0], [0, 1]])
def test_padding_may_have_an_id_behind_the_table(pad, padded):
    """A pad token that was added to the tokenizer alone has the id of the first virtual token."""
    model = adapted()
    words = prefixed(model)[:, M:]
    ids, mask = left_padded(words)
    ids[padded, :3] = pad
    expected = model(words).logits
    found = model(input_ids=ids, attention_mask=mask).logits
    assert torch.allclose(found[:, 3:], expected, atol=1e-5)


def test_a_conversation_goes_on_from_its_cache():
    """Step by step by hand, and by `generate` with the new words alone."""
    model = adapted()
    words = prefixed(model)[:, M:]
    expected = model(words).logits
    cache = model(words[:, :4], use_cache=True).past_key_values
    mask = torch.ones_like(words)
    found = model(words[:, 4:], attention_mask=mask, past_key_values=cache).logits
    assert torch.allclose(found, expected[:, 4:], atol=1e-5)
    cache = model(words[:, :4], use_cache=True).past_key_values
    found = model.generate(words[:, 4:], attention_mask=mask, past_key_values=cache, **OPTIONS)
    whole = model.generate(words, attention_mask=mask, **OPTIONS)
    assert torch.equal(found[:, 2:], whole[:, 6:])


def test_a_long_text_may_be_read_in_pieces():
    """As `generate` does with prefill_chunk_size."""
    model = adapted()
    words = prefixed(model)[:, M:]
    padded, mask = left_padded(words, pads=2)
    expected = model.generate(padded, attention_mask=mask, **OPTIONS)
    found = model.generate(
        padded, attention_mask=mask, prefill_chunk_size=4, past_key_values=DynamicCache(), **OPTIONS
    )
    assert torch.equal(found, expected)


def test_what_looks_at_ids_sees_words_only(capsys):
    """A penalty that looks ids up among V scores, and a streamer that writes them."""
    model = inject_adapter(load_model(str(MODEL)), AdeptConfig("adept", 4, 3))
    tokenizer = load_tokenizer(str(MODEL))
    batch = tokenizer("Tom and Mia went to the inn.", return_tensors="pt")
    streamer = TextStreamer(tokenizer, skip_special_tokens=True)
    options = {**OPTIONS, "repetition_penalty": 1.5}
    out = model.generate(**batch, streamer=streamer, **options)
    assert out.max() < len(tokenizer)
    assert capsys.readouterr().out.strip() == tokenizer.decode(out[0], skip_special_tokens=True)


def test_a_copy_reads_its_own_prompt():
    model = adapted()
    words = prefixed(model)[:, M:]
    before, twin = model(words).logits, copy.deepcopy(model)
    with torch.no_grad():
        get_adapter(twin).prompt.weight.add_(1.0)
    assert torch.equal(model(words).logits, before)
    assert not torch.allclose(twin(words).logits, before)


def test_a_merged_model_inserts_nothing():
    """Its tokenizer writes P, and would be read with another P in front."""
    tokenizer = load_tokenizer(str(MODEL))
    model = inject_adapter(load_model(str(MODEL)), AdeptConfig("adept", 4, 3))
    batch = tokenizer("Tom was sad.", return_tensors="pt")
    expected = model(**batch).logits
    merged, tokenizer = merge_adapter(model, tokenizer)
    found = merged(**tokenizer("Tom was sad.", return_tensors="pt")).logits
    assert found.shape[1] == expected.shape[1] + 4
    assert torch.allclose(found[:, 4:, : expected.shape[-1]], expected, atol=1e-5)


def two_texts(model, words):
    positions = torch.tensor([[0, 1, 2, 0, 1, 2]]).expand_as(words)
    model(words, position_ids=positions)


def some_rows(model, words):
    ids = words.clone()
    ids[0, 0] = VOCAB
    model(ids)


def fixed_cache(model, words):
    model(words, past_key_values=StaticCache(model.config, 32))


def whole_conversation(model, words):
    cache = model(words, use_cache=True).past_key_values
    longer = torch.cat([words, words, words], 1)
    model.generate(longer, attention_mask=torch.ones_like(longer), past_key_values=cache)


def pieces_of_padding(model, words):
    padded, mask = left_padded(words, pads=5)
    cache = DynamicCache()
    model.generate(padded, attention_mask=mask, prefill_chunk_size=4, past_key_values=cache)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (some_rows, "some rows hold virtual tokens"),
        (two_texts, "several texts in one row.*make_batcher"),
        (fixed_cache, "a cache of fixed size.*virtual_token_ids"),
        (whole_conversation, "of its 11 tokens 5 were inserted.*new tokens alone"),
        (pieces_of_padding, "a row of padding alone"),
        (lambda m, w: m(w, attention_mask=torch.ones(2, 1, 6, 6)), r"\[batch, columns\]"),
        (lambda m, w: m(w, shift_labels=w), "shift_labels"),
        (lambda m, w: m(w, cu_seq_lens_q=torch.tensor([0, 6])), "cu_seq_lens_q"),
        (lambda m, w: m(w, return_dict=False), "return_dict"),
    ],
)
def test_where_the_place_of_p_is_unclear_one_line_says_what_to_do(call, message):
    """Never silently without P, and the next call is as if nothing had been."""
    model = adapted()
    words = prefixed(model)[:, M:]
    expected = model(words).logits
    with pytest.raises(InputError, match=message) as caught:
        call(model, words)
    assert "\n" not in str(caught.value)
    assert torch.equal(model(words).logits, expected)


def test_drafted_tokens_are_right(monkeypatch):
    """Refused by a transformers that takes drafts back to the text's length: the cache has more."""
    model, crop, crops = adapted(), DynamicCache.crop, []

    def note(cache, size):
        crops.append(size)
        return crop(cache, size)

    ids = prefixed(model)[:1]
    words = ids[:, M:].repeat(1, 3)
    ids = torch.cat([ids[:, :M], words], 1)
    options = {**OPTIONS, "max_new_tokens": 12}
    expected = model.generate(words, attention_mask=torch.ones_like(words), **options)
    monkeypatch.setattr(DynamicCache, "crop", note)
    options["prompt_lookup_num_tokens"] = 2
    found = model.generate(ids, attention_mask=torch.ones_like(ids), **options)
    assert torch.equal(found[:, M:], expected)
    assert any(crops)  # of drafts some were taken back
    if max(crops) > 0:
        with pytest.raises(InputError, match="were inserted"):
            model.generate(words, attention_mask=torch.ones_like(words), **options)
    else:
        found = model.generate(words, attention_mask=torch.ones_like(words), **options)
        assert torch.equal(found, expected)
