"""What the loss is on: masks and ids line up, whatever the texts, tokenizer and template."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from adept_llm.data import Encoder, Example
from adept_llm.data.templates import render, target_gap
from adept_llm.errors import InputError
from tests.tokenizers import CHATML, build_byte_level

NAMES = ("byte_level", "metaspace", "merging", "chatml", "llama2_chat")
CASES = [(name, template) for name in NAMES for template in ("plain", "alpaca")]
CASES += [("chatml", "chat"), ("llama2_chat", "chat")]
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<>"), max_size=40)
FILLED = TEXT.filter(str.strip)
PLENTY = 10_000
# forgets what was said before the last question, as some templates of models that think do
FORGETFUL = (
    "{% for m in messages %}{% if m['role'] == 'user' or loop.last %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def turn_ending():
    """As an instruction-tuned model has it: EOS ends each turn."""
    tokenizer = build_byte_level(add_bos=False, chat_template=CHATML)
    tokenizer.eos_token = "<|im_end|>"
    return tokenizer


def learnt(encoded):
    """The token ids that are predicted, turn by turn."""
    spans, start = [], 0
    for left_out in encoded.passed_over:
        spans.append(encoded.target_ids[start : left_out[0]])
        start = left_out[1]
    return [*spans, encoded.target_ids[start:]]


@pytest.mark.parametrize("name, template", CASES)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(instruction=FILLED, context=TEXT, target=FILLED, cut=st.integers(0, 40))
def test_all_is_the_text_tokenised_as_one(
    tokenizers, name, template, instruction, context, target, cut
):
    """What the tokenizer makes of prompt and target, and one EOS; the first token is not learnt."""
    tokenizer = tokenizers[name]
    example = Example(instruction, context, target, id="f:1")
    encoder = Encoder(tokenizer, template, PLENTY, "all")
    whole = encoder.encode(example)
    gap = "" if target[:1].isspace() else target_gap(template, tokenizer)
    text = render(template, example, tokenizer).text + gap + target
    # a chat template may have written BOS itself
    expected = tokenizer(text, add_special_tokens=not text.startswith("<s>")).input_ids
    assert whole.prompt_ids + whole.target_ids == [*expected, tokenizer.eos_token_id]
    assert len(whole.prompt_ids) == 1 and whole.passed_over == ()

    limit = max(2, len(expected) + 1 - cut)
    short = Encoder(tokenizer, template, limit, "all").encode(example)
    if short:
        assert len(short.prompt_ids) + len(short.target_ids) <= limit
        assert short.target_ids[-1] == tokenizer.eos_token_id
        assert (short.truncated > 0) == (cut > 0)
        ids = short.prompt_ids + short.target_ids[:-1]
        shown = tokenizer.decode(ids, skip_special_tokens=True)
        spoken = tokenizer.decode(tokenizer(target).input_ids, skip_special_tokens=True)
        assert "".join(shown.split()).endswith("".join(spoken.split()))


@pytest.mark.parametrize("loss_on", ["target", "all", "assistant"])
def test_what_is_measured_does_not_depend_on_what_is_learnt(loss_on, chatml):
    """Answers are generated behind a prompt that was tokenised alone."""
    encoder = Encoder(chatml, "chat", 60, loss_on)
    examples = [Example("Is it a joy?", "a joy to watch", "positive", id="f:1")]
    plain = Encoder(chatml, "chat", 60)
    assert encoder.encode_each(examples) == plain.encode_each(examples)
    assert encoder.encode_windows(examples, 5) == plain.encode_windows(examples, 5)
    assert encoder.label_ids(["positive"]) == plain.label_ids(["positive"])


def test_a_shortened_row_does_not_tell_its_label(byte_level):
    """With the loss on all of a row its prompt is as long for one label as for the other."""
    labels = ("negative and dull, xyz", "a")
    context = "a joy to watch, " * 20
    encoder = Encoder(byte_level, "plain", 60, "all")
    rows = [
        encoder.encode(Example("Is it?", context, one, id="f:1", labels=labels)) for one in labels
    ]
    sizes = [len(byte_level(" " + one, add_special_tokens=False).input_ids) for one in labels]
    lengths = [len(row.prompt_ids) + len(row.target_ids) for row in rows]
    assert sizes[0] > sizes[1] + 3 and all(row.truncated for row in rows)
    assert lengths[0] - sizes[0] == lengths[1] - sizes[1] and max(lengths) <= 60


TURNS = st.lists(st.tuples(FILLED, FILLED), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(turns=TURNS, system=st.none() | FILLED)
@pytest.mark.parametrize("name", ["chatml", "turn_ending"])
def test_every_turn_of_the_assistant_and_nothing_else(tokenizers, turn_ending, name, turns, system):
    """What is learnt spells what the assistant said; ids are those of the loss on the target."""
    tokenizer = turn_ending if name == "turn_ending" else tokenizers[name]
    messages = [("system", system)] * (system is not None)
    for asked, said in turns:
        messages += [("user", asked), ("assistant", said)]
    *before, (_, target) = messages
    example = Example("", "", target, id="f:1", messages=tuple(before))
    found = Encoder(tokenizer, "chat", PLENTY, "assistant").encode(example)
    plain = Encoder(tokenizer, "chat", PLENTY).encode(example)
    assert found.prompt_ids + found.target_ids == plain.prompt_ids + plain.target_ids
    parts = learnt(found)
    assert len(parts) == len(turns) and parts[-1] == plain.target_ids
    for ids, (_, said) in zip(parts, turns, strict=True):
        ended = ids[-1] == tokenizer.eos_token_id
        assert ended == (name == "turn_ending" or ids is parts[-1])
        spoken = tokenizer.decode(ids[: len(ids) - ended])
        # a token that holds a part of the template's own text is left out with it
        assume(not said[:1].isspace() and not said[-1:].isspace())
        assert spoken == said


def test_turns_behind_a_space_that_sentencepiece_writes(llama2_chat):
    """The space in front of an answer lies in its first token's span."""
    messages = (("user", "what is it?"), ("assistant", "a joy to watch"), ("user", "and this?"))
    example = Example("", "", "a dull film", id="f:1", messages=messages)
    encoded = Encoder(llama2_chat, "chat", PLENTY, "assistant").encode(example)
    first, last = learnt(encoded)
    assert llama2_chat.decode(first).strip() == "a joy to watch </s>"
    assert llama2_chat.decode(last).strip() == "a dull film</s>"
    assert llama2_chat.decode(encoded.prompt_ids).endswith("[/INST]")


def test_a_single_answer_is_learnt_as_ever(chatml):
    example = Example("Is it a joy?", "a joy to watch", "positive", id="f:1")
    assert Encoder(chatml, "chat", 60, "assistant").encode(example) == Encoder(
        chatml, "chat", 60
    ).encode(example)


def test_a_template_that_hides_the_turns_is_refused():
    """Its earlier answers are nowhere: a guess would put the loss on a user's words."""
    tokenizer = build_byte_level(add_bos=False, chat_template=FORGETFUL)
    messages = (("user", "what is it?"), ("assistant", "a joy"), ("user", "and this?"))
    example = Example("", "", "a dull film", id="f.jsonl:7", messages=messages)
    assert Encoder(tokenizer, "chat", PLENTY, "all").encode(example)
    with pytest.raises(InputError, match="^f.jsonl:7: .* hides where message 2 stands, .*; give"):
        Encoder(tokenizer, "chat", PLENTY, "assistant").encode(example)


def test_losses_that_cannot_be(byte_level):
    with pytest.raises(InputError, match="^loss_on: 'prompt' is unknown; known: target, all, ass"):
        Encoder(byte_level, "plain", 60, "prompt")
    with pytest.raises(InputError, match="^loss_on: template 'plain' does not mark .*--template"):
        Encoder(byte_level, "plain", 60, "assistant")


def test_a_gap_of_its_own_is_the_examples(byte_level):
    """The yardstick of PEFT writes an answer right behind 'Answer:'."""
    example = Example("", "Question: what?\nAnswer:", "positive", id="f:1", gap="")
    for loss_on in ("target", "all"):
        encoded = Encoder(byte_level, "plain", 60, loss_on).encode(example)
        text = byte_level.decode(encoded.prompt_ids + encoded.target_ids)
        assert text == "<s>Question: what?\nAnswer:positive</s>"
