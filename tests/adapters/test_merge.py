"""A merged model and its tokenizer are stock, and answer as the adapter does."""

import pytest
import torch
from tokenizers import Tokenizer, processors
from tokenizers.models import WordLevel
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from adept_llm import AdeptConfig, InputError, get_adapter, inject_adapter, merge_adapter
from adept_llm.adapters import METHODS
from adept_llm.adapters.merge import merged_rows
from adept_llm.demo import MODEL
from tests.builders import adapted, prefixed

M = 5
TEXT = "The soup was stale."


def demo(rows=None, tokens=M):
    """The demo model with an adapter, and its tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    if rows is not None:
        model.resize_token_embeddings(rows)
    model = inject_adapter(model, AdeptConfig("adept", tokens, 4))
    with torch.no_grad():
        get_adapter(model).offset.w2.normal_(0, 0.2, generator=torch.Generator().manual_seed(0))
    return model, AutoTokenizer.from_pretrained(MODEL)


def reloaded(tokenizer, folder):
    tokenizer.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["llama-tied", "gemma3", "gpt2"])
@pytest.mark.parametrize("method", sorted(METHODS.keys() - {"dept"}))
def test_merged_table_has_the_bits_of_the_layer(method, name, dtype):
    """INV 7, for every method that merges."""
    model = adapted(name, method, dtype=dtype)
    layer, table = get_adapter(model), merged_rows(get_adapter(model))
    for ids in (prefixed(model), prefixed(model)[:, :1], prefixed(model, 1, 1)[:, -1:]):
        expected = table[ids]
        if layer.embed_scale is not None:
            expected = expected * torch.tensor(layer.embed_scale).to(dtype)
        assert torch.equal(layer(ids), expected)


def test_merged_model_is_stock_and_answers_alike(tmp_path):
    model, tokenizer = demo()
    ids = tokenizer(TEXT, return_tensors="pt").input_ids
    ids = torch.cat([torch.tensor([get_adapter(model).virtual_token_ids]), ids], 1)
    options = {"max_new_tokens": 20, "do_sample": False}
    before = model.generate(ids, attention_mask=torch.ones_like(ids), **options)

    merged, merged_tokenizer = merge_adapter(model, tokenizer)
    merged.save_pretrained(tmp_path)
    stock_tokenizer = reloaded(merged_tokenizer, tmp_path)
    stock = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    batch = stock_tokenizer(TEXT, return_tensors="pt")
    assert torch.equal(batch.input_ids, ids)
    assert torch.equal(stock.generate(**batch, **options), before)


def test_virtual_tokens_are_never_answered_and_a_head_keeps_its_bias():
    """Not even where the base's best row is forbidden."""
    model = adapted()
    old = model.get_output_embeddings()
    head = nn.Linear(old.in_features, old.out_features)
    with torch.no_grad():
        head.weight.copy_(old.weight)
        head.bias.normal_(0, 3, generator=torch.Generator().manual_seed(0))
        head.bias[0] = 1e4
    model.set_output_embeddings(head.requires_grad_(False))
    model.generation_config.suppress_tokens = [0]
    ids, words = prefixed(model), get_adapter(model).table.vocab_size
    options = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 6, "do_sample": False}
    logits, before = model(ids).logits, model.generate(ids, **options)
    tokenizer = Tokenizer(WordLevel({"<unk>": 0}, unk_token="<unk>"))
    merged, _ = merge_adapter(model, PreTrainedTokenizerFast(tokenizer_object=tokenizer))
    assert torch.equal(merged(ids).logits[..., :words], logits)
    assert torch.equal(merged.generate(ids, **options), before)


def test_a_table_with_more_rows_than_the_tokenizer_has_tokens(tmp_path):
    """Padded vocabularies are common; the virtual tokens' ids start behind the table."""
    model, tokenizer = demo(rows=AutoTokenizer.from_pretrained(MODEL).vocab_size + 8)
    expected = get_adapter(model).virtual_token_ids + tokenizer(TEXT).input_ids
    _, merged = merge_adapter(model, tokenizer)
    assert reloaded(merged, tmp_path)(TEXT).input_ids == expected
    assert tokenizer(TEXT).input_ids == expected[M:]  # the given one is not changed


def test_a_tokenizer_larger_than_the_table_is_refused():
    model, tokenizer = demo()
    tokenizer.add_tokens([f"<new {i}>" for i in range(get_adapter(model).table.vocab_size)])
    with pytest.raises(InputError, match="tokens, the table"):
        merge_adapter(model, tokenizer)


def test_a_slow_tokenizer_is_refused():
    with pytest.raises(InputError, match="need a fast one"):
        merge_adapter(adapted(), object())


def template(single, pair):
    return processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=[("<s>", 1), ("</s>", 2)]
    )


POST_PROCESSORS = {
    "BOS": template("<s> $A", "<s> $A <s> $B"),
    "BOS and EOS": template("<s> $A </s>", "<s> $A </s> <s> $B:1 </s>:1"),
    "Llama 3": processors.Sequence(
        [processors.ByteLevel(trim_offsets=False), template("<s> $A", "<s> $A <s>:1 $B:1")]
    ),
    "GPT-2": processors.ByteLevel(trim_offsets=False),
    "nothing": template("$A", "$A $B"),
}


@pytest.mark.parametrize("name", POST_PROCESSORS)
def test_virtual_tokens_stand_once_before_a_text_and_a_pair(tmp_path, name):
    """Two templates in a row made the tokenizer panic on a pair."""
    model, tokenizer = demo()
    tokenizer._tokenizer.post_processor = POST_PROCESSORS[name]
    virtual = get_adapter(model).virtual_token_ids
    _, merged = merge_adapter(model, tokenizer)
    merged = reloaded(merged, tmp_path)
    for texts in ((TEXT,), (TEXT, "Bad.")):
        assert merged(*texts).input_ids == virtual + tokenizer(*texts).input_ids
        bare = merged(*texts, add_special_tokens=False).input_ids
        assert bare == tokenizer(*texts, add_special_tokens=False).input_ids


CHAT = "{% for m in messages %}\n  {{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"


@pytest.mark.parametrize("chat", [CHAT, "<s>" + CHAT, "  " + CHAT, "\n{{- bos_token }}" + CHAT])
def test_a_conversation_begins_with_the_virtual_tokens(tmp_path, chat):
    """Chat is tokenised without special tokens: the template has to write them."""
    model, tokenizer = demo()
    tokenizer.chat_template = {"default": chat, "other": "[" + chat + "]"}
    virtual = get_adapter(model).virtual_token_ids
    _, merged = merge_adapter(model, tokenizer)
    merged = reloaded(merged, tmp_path)
    messages = [{"role": "user", "content": TEXT}]
    for which in ("default", "other"):
        options = {"chat_template": which, "return_dict": False}
        expected = virtual + tokenizer.apply_chat_template(messages, **options)
        assert merged.apply_chat_template(messages, **options) == expected


def test_chat_that_is_tokenised_later_has_the_prompt_once(tmp_path):
    """Without special tokens, as docs/serving.md says: what they add cannot look at the text."""
    model, tokenizer = demo()
    tokenizer.chat_template = CHAT
    virtual = get_adapter(model).virtual_token_ids
    _, merged = merge_adapter(model, tokenizer)
    merged = reloaded(merged, tmp_path)
    messages = [{"role": "user", "content": TEXT}]
    at_once = merged.apply_chat_template(messages, return_dict=False)
    text = merged.apply_chat_template(messages, tokenize=False)
    assert at_once[:M] == virtual and at_once[M] not in virtual
    assert merged(text, add_special_tokens=False).input_ids == at_once


def test_without_a_chat_template_there_is_none_afterwards():
    _, merged = merge_adapter(*demo())
    assert merged.chat_template is None
    assert merged.convert_tokens_to_ids("<|adept_0|>") == merged("").input_ids[0]


@pytest.mark.parametrize("training", [True, False])
def test_reading_the_merged_rows_leaves_the_mode(training):
    """A model in training went on without its dropout."""
    layer = get_adapter(adapted().train(training))
    merged_rows(layer)
    assert {module.training for module in layer.modules()} == {training}


@pytest.mark.parametrize("spare", [0, 8])
def test_an_adapter_of_a_merged_base_is_merged_again(tmp_path, spare):
    """[new P][old P][BOS]: of the same names for both the first prompt was lost, silently."""
    size = AutoTokenizer.from_pretrained(MODEL).vocab_size
    m1, t1 = merge_adapter(*demo(rows=size + spare))
    if spare:  # rows without tokens before the second prompt too
        m1.resize_token_embeddings(m1.config.vocab_size + spare)
    t1.chat_template = CHAT
    t1 = reloaded(t1, tmp_path / "once")
    m1.save_pretrained(tmp_path / "once")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "once", dtype=torch.float32)
    model = inject_adapter(base, AdeptConfig("adept", 3, 4, init_seed=1))
    with torch.no_grad():
        get_adapter(model).offset.w2.normal_(0, 0.2, generator=torch.Generator().manual_seed(1))
    virtual, words = get_adapter(model).virtual_token_ids, t1(TEXT, return_tensors="pt")
    expected = model(**words).logits
    said = [{"role": "user", "content": TEXT}]
    old_chat = t1.apply_chat_template(said, return_dict=False)
    twice, t2 = merge_adapter(model, t1)
    t2 = reloaded(t2, tmp_path / "twice")
    ids = t2(TEXT).input_ids
    assert ids == virtual + words.input_ids[0].tolist()
    assert t2.apply_chat_template(said, return_dict=False) == virtual + old_chat
    assert t2.decode(ids, skip_special_tokens=True) == t1.decode(ids[3:], skip_special_tokens=True)
    found = twice(torch.tensor([ids])).logits[:, 3:, : expected.shape[-1]]
    assert torch.allclose(found, expected, atol=1e-4)


def test_a_network_without_prompt_leaves_the_tokenizer_alone():
    model, tokenizer = demo(tokens=0)
    rows = get_adapter(model).table.vocab_size
    merged, same = merge_adapter(model, tokenizer)
    assert same is tokenizer and merged.config.vocab_size == rows
    assert merged.generation_config.suppress_tokens is None


def test_dept_cannot_be_merged():
    with pytest.raises(InputError, match="position"):
        merge_adapter(adapted(method="dept"), None)
