"""Ids: the boundary stays, target and EOS stay, only the context's end goes."""

import re
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adept_llm.data.encoding import Encoder
from adept_llm.data.example import Example
from adept_llm.data.templates import render
from adept_llm.errors import InputError

NAMES = ("byte_level", "metaspace", "merging", "chatml", "llama2_chat")
CASES = [(name, template) for name in NAMES for template in ("plain", "alpaca")]
CASES += [("chatml", "chat"), ("llama2_chat", "chat")]
MODELS = Path(__file__).parents[3] / "shared" / "models"
PLENTY = 10_000

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<>"), max_size=40)
FILLED = TEXT.filter(str.strip)


@pytest.mark.parametrize("name, template", CASES)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(instruction=FILLED, context=TEXT, target=FILLED, other=FILLED, cut=st.integers(0, 40))
def test_only_the_end_of_the_context_ever_goes(
    tokenizers, name, template, instruction, context, target, other, cut
):
    """For any text and limit; a broken one would train on half answers or on moved boundaries."""
    tokenizer = tokenizers[name]
    example = Example(instruction, context, target, id="f:1")
    whole = Encoder(tokenizer, template, PLENTY).encode(example)
    assert whole and whole.truncated == 0
    same = Encoder(tokenizer, template, PLENTY).encode(
        Example(instruction, context, other, id="f:2")
    )
    assert same and same.prompt_ids == whole.prompt_ids
    assert whole.target_ids[-1] == tokenizer.eos_token_id
    assert whole.target_ids.count(tokenizer.eos_token_id) == 1

    limit = max(2, len(whole.prompt_ids) + len(whole.target_ids) - cut)
    room = limit - len(whole.target_ids)
    short = Encoder(tokenizer, template, limit).encode(example)
    if short is None:
        assert len(_with_piece(tokenizer, template, example, 0, 0)) > room
        return
    assert len(short.prompt_ids) <= room
    assert short.target_ids == whole.target_ids
    assert (short.truncated > 0) == (cut > 0)
    assert short.truncated == len(whole.prompt_ids) - len(short.prompt_ids)
    ends = [*range(len(context) + 1)]
    if _each_word_fits(tokenizer, template, example, room):
        ends = [
            0,
            *(n for n in ends if not (context[n - 1 : n].strip() and context[n : n + 1].strip())),
        ]
    assert any(_with_piece(tokenizer, template, example, 0, n) == short.prompt_ids for n in ends)


def _with_piece(tokenizer, template, example, first, last):
    """The ids of the prompt with only some characters of its context, written and tokenised."""
    text, (start, end), _ = render(template, example, tokenizer)
    piece = text[start:end][first:last]
    ids = tokenizer(text[:start] + piece + text[end:], add_special_tokens=False).input_ids
    bos = tokenizer("a").input_ids[: len(tokenizer("a").input_ids) - len(_bare(tokenizer, "a"))]
    return ids if ids[: len(bos)] == bos else bos + ids


def _bare(tokenizer, text):
    return tokenizer(text, add_special_tokens=False).input_ids


def _each_word_fits(tokenizer, template, example, room):
    text, (start, end), _ = render(template, example, tokenizer)
    words = [found.span() for found in re.finditer(r"\S+", text[start:end])]
    return all(
        len(_with_piece(tokenizer, template, example, *word)) <= room - 3 for word in words
    ) and not re.search("[\u3000-\uffff]", text[start:end])  # there each character is a word


@pytest.mark.parametrize("name, template", CASES)
def test_the_sequence_reads_as_its_text(tokenizers, name, template):
    """One BOS at most, one space before the answer: two or none would be an unusual sight."""
    tokenizer = tokenizers[name]
    example = Example("Is it positive?", "a joy", "positive", id="f:1")
    encoder = Encoder(tokenizer, template, PLENTY)
    encoded = encoder.encode(example)
    bos = [] if name == "chatml" else [tokenizer.bos_token_id]
    assert encoded.prompt_ids[:1] == bos or not bos
    assert encoded.prompt_ids.count(tokenizer.bos_token_id) == len(bos)
    written = tokenizer.decode(encoded.prompt_ids + encoded.target_ids, skip_special_tokens=True)
    ending = {"plain": "Answer: ", "alpaca": "Response: ", "chat": "\n"}[template]
    ending = "[/INST] " if (name, template) == ("llama2_chat", "chat") else ending
    assert written.endswith(f"{ending}positive")


@pytest.mark.parametrize("name", ["byte_level", "metaspace", "merging"])
@pytest.mark.parametrize("target", ["x", " x", "   x", "\nx", "\n\n x", "é"])
def test_white_space_of_the_target_is_kept_as_it_is(tokenizers, name, target):
    """Code needs its indentation; a target without white space gets one space."""
    tokenizer = tokenizers[name]
    encoded = Encoder(tokenizer, "plain", PLENTY).encode(Example("", "A:", target, id="f:1"))
    text = tokenizer.decode(encoded.prompt_ids + encoded.target_ids, skip_special_tokens=True)
    gap = "" if target[0].isspace() else " "
    assert text.lstrip() == f"A:{gap}{target}"


def test_a_chat_answer_gets_no_space_from_sentencepiece(metaspace, chatml):
    """Chat models of this kind have seen answers right behind the line break."""
    metaspace.chat_template = chatml.chat_template
    try:
        encoder = Encoder(metaspace, "chat", PLENTY)
    finally:
        metaspace.chat_template = None
    (ids,) = encoder.label_ids(["positive"])
    assert "▁" not in "".join(metaspace.convert_ids_to_tokens(ids))


@pytest.mark.parametrize("name, template", CASES)
def test_label_ids_are_those_of_targets(tokenizers, name, template):
    """Otherwise scoring would look for other tokens than were trained."""
    labels = ("negative", "positive")
    encoder = Encoder(tokenizers[name], template, PLENTY)
    for index, ids in enumerate(encoder.label_ids(labels)):
        encoded = encoder.encode(Example("Mood?", "a", labels[index], id="f:1", labels=labels))
        assert encoded.target_ids[:-1] == ids
        assert encoded.label == index


@pytest.mark.parametrize("name", ["byte_level", "metaspace"])
def test_a_shortened_prompt_does_not_give_the_label_away(tokenizers, name):
    """Were room kept for the target's own length, the prompt's length would tell the answer."""
    labels = ("no", "absolutely positive")
    encoder = Encoder(tokenizers[name], "plain", 30)
    first, second = (
        encoder.encode(Example("Mood?", "a joy " * 20, label, id="f:1", labels=labels))
        for label in labels
    )
    assert first.prompt_ids == second.prompt_ids and first.truncated > 0


@pytest.mark.parametrize("name", ["byte_level", "metaspace"])
def test_a_character_is_never_cut_in_half(tokenizers, name):
    """Half of an emoji's bytes is no text."""
    tokenizer = tokenizers[name]
    example = Example("Mood?", "😀😀😀😀", "good", id="f:1")
    whole = Encoder(tokenizer, "plain", PLENTY).encode(example)
    length = len(whole.prompt_ids) + len(whole.target_ids)
    for limit in range(length - 15, length):
        short = Encoder(tokenizer, "plain", limit).encode(example)
        assert "\ufffd" not in tokenizer.decode(short.prompt_ids)


@pytest.mark.parametrize("template", ["plain", "alpaca"])
def test_a_bare_prompt_or_a_conversation_is_dropped_rather_than_cut(byte_level, template):
    """The question may well stand at the end."""
    encoder = Encoder(byte_level, template, 60)
    assert encoder.encode(Example("", "a joy " * 100, "good", id="f:1")) is None
    talk = (("user", "a joy " * 100),)
    assert encoder.encode(Example("", "", "good", id="f:2", messages=talk)) is None


def test_the_report_counts(byte_level):
    """Dropped examples must be seen, or a metric is over fewer rows than one thinks."""
    examples = [
        Example("Mood?", "a joy", "good", id="f:1"),
        Example("Mood?", "a joy " * 30, "good", id="f:2"),
        *(Example("Mood? " * 30, "a joy", "good", id=f"f:{n}") for n in range(3, 10)),
    ]
    kept, report = Encoder(byte_level, "plain", 30).encode_all(iter(examples))
    assert [one.id for one in kept] == ["f:1", "f:2"]
    assert (report.kept, report.truncated, report.dropped) == (2, 1, 7)
    assert report.longest == 30
    lengths = [len(one.prompt_ids) + len(one.target_ids) for one in kept]
    assert report.mean_length == sum(lengths) / 2
    assert len(report.first_dropped) == 5
    assert report.first_dropped[0].startswith("f:3: ")
    assert "7 dropped (f:3: " in str(report)


def test_the_reason_names_the_limit_that_would_do(byte_level):
    """A user raises max_length once, not by trial."""
    example = Example("Mood?", "a joy", "good", id="f:1")
    with pytest.raises(InputError, match=r"f:1: \d+ tokens even without its context") as error:
        Encoder(byte_level, "plain", 8).encode_all([example])
    needed = int(str(error.value).split("f:1: ")[1].split()[0])
    assert Encoder(byte_level, "plain", needed).encode(example)
    assert Encoder(byte_level, "plain", needed - 1).encode(example) is None


def test_many_are_encoded_as_one_by_one(metaspace, monkeypatch):
    """Chunks change nothing."""
    monkeypatch.setattr("adept_llm.data.encoding.CHUNK", 3)
    encoder = Encoder(metaspace, "plain", 40)
    examples = [Example("Mood?", "a joy " * n, "good", id=f"f:{n}") for n in range(10)]
    kept, _ = encoder.encode_all(examples)
    assert kept == [encoder.encode(example) for example in examples]


def test_nothing_left_is_an_error(byte_level):
    """Training on nothing would fail far from the cause."""
    with pytest.raises(InputError, match="no example is left"):
        Encoder(byte_level, "plain", 30).encode_all([])


def test_a_tokenizer_that_adds_eos_adds_none_to_the_prompt(make_byte_level):
    """A prompt that ends in EOS has been answered already."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = make_byte_level()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    encoded = Encoder(tokenizer, "plain", PLENTY).encode(Example("Mood?", "a", "good", id="f:1"))
    assert encoded.prompt_ids[0] == 1 and 2 not in encoded.prompt_ids


def test_bad_settings_are_refused(byte_level, make_byte_level, monkeypatch):
    """Before any data is read."""
    with pytest.raises(InputError, match="max_length must be at least 2"):
        Encoder(byte_level, "plain", 1)
    with pytest.raises(InputError, match="unknown template"):
        Encoder(byte_level, "vicuna", 30)
    with pytest.raises(InputError, match="chat template"):
        Encoder(byte_level, "chat", 30)
    no_eos = make_byte_level()
    no_eos.eos_token = None
    with pytest.raises(InputError, match="no EOS"):
        Encoder(no_eos, "plain", 30)
    monkeypatch.setattr(type(byte_level), "is_fast", False)
    with pytest.raises(InputError, match="slow"):
        Encoder(byte_level, "plain", 30)


@pytest.mark.parametrize("name", ["plainwords-7m", "stories260K", "tinystories-656k"])
def test_real_tokenizers(name):
    """What the tokenizers made here might not show."""
    if not (MODELS / name).is_dir():
        pytest.skip(f"needs {MODELS / name}")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODELS / name)
    example = Example("Is it positive?", "a joy to watch " * 20, "positive", id="f:1")
    whole = Encoder(tokenizer, "plain", PLENTY).encode(example)
    text = tokenizer.decode(whole.prompt_ids + whole.target_ids[:-1])
    assert text.endswith("watch\nAnswer: positive")
    assert whole.prompt_ids.count(tokenizer.bos_token_id) == 1
    short = Encoder(tokenizer, "plain", 60).encode(example)
    text = tokenizer.decode(short.prompt_ids[1:])
    assert text.startswith("Is it positive?\na joy") and text.endswith("\nAnswer:")
    assert short.target_ids == whole.target_ids


WORDS = st.lists(
    st.text("abcdeXYZ\u00e9\u00df0123.,'-", min_size=1, max_size=9), min_size=1, max_size=40
)
GAPS = st.sampled_from([" ", " ", " ", "  ", "\n"])


@st.composite
def contexts(draw):
    words = draw(WORDS)
    return "".join(word + draw(GAPS) for word in words[:-1]) + words[-1]


def _check_cuts(tokenizer, context, room, place):
    """Encode one example to train on and to measure on; what is left of its context each time."""
    words = context.split()
    if tokenizer.decode(_bare(tokenizer, context)).split() != words:
        return  # it cannot write them
    start = 6 + min(place, len(context) - 1)
    example = Example(
        "Answer it.", f"Text: {context}\nQuestion: which?", "yes", id="f:1",
        context=(6, 6 + len(context)), focus=(start, start + 1),
    )  # fmt: skip
    least = len(tokenizer("Answer it.\nText: \nQuestion: which?\nAnswer:").input_ids) + 30
    encoder = Encoder(tokenizer, "plain", least + room)
    ((*windows,),), _ = encoder.encode_windows([example], 4)
    pieces = []
    for one in (encoder.encode(example), *windows):
        assert len(one.prompt_ids) < least + room
        shown = tokenizer.decode(one.prompt_ids, skip_special_tokens=True)
        before, after = shown.split("Text: ")
        piece, rest = after.split("Question: ")
        assert before.strip() == "Answer it." and re.fullmatch(r"which\?\s*Answer:", rest)
        pieces.append(piece.split())
        assert "\n" not in shown or piece.strip() in context
        assert any(words[n : n + len(pieces[-1])] == pieces[-1] for n in range(len(words)))
    around, *read = pieces
    (held,) = [
        m.group() for m in re.finditer(r"\S+\s*", context) if m.start() <= start - 6 < m.end()
    ]
    assert held.strip() in around
    assert set(words) == {word for each in read for word in each}


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(context=contexts(), room=st.integers(0, 60), place=st.integers(0, 200))
def test_a_cut_context_is_made_of_whole_words_of_its_source(tokenizers, name, context, room, place):
    """A token at the cut, glued to a piece of another word, was neither word nor text."""
    _check_cuts(tokenizers[name], context, room, place)


@pytest.mark.parametrize("name", ["plainwords-7m", "stories260K", "tinystories-656k"])
@settings(max_examples=30, deadline=None, derandomize=True)
@given(context=contexts(), room=st.integers(0, 60), place=st.integers(0, 200))
def test_a_cut_context_is_made_of_whole_words_for_real_tokenizers(name, context, room, place):
    if not (MODELS / name).is_dir():
        pytest.skip(f"needs {MODELS / name}")
    _check_cuts(_real(name), " ".join(context.split()), room, place)  # one has no line breaks


@cache
def _real(name):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(MODELS / name)


def test_a_character_is_a_word_where_no_spaces_are_written(byte_level):
    """Else a Chinese text would lose all of its context."""
    example = Example("Mood?", "今天天气很好，我们去公园。" * 4, "good", id="f:1")
    whole = Encoder(byte_level, "plain", PLENTY).encode(example)
    short = Encoder(byte_level, "plain", len(whole.prompt_ids) - 20).encode(example)
    shown = byte_level.decode(short.prompt_ids, skip_special_tokens=True)
    piece = shown.removeprefix("Mood?\n").removesuffix("\nAnswer:")
    assert len(piece) > 20 and example.input.startswith(piece) and "\ufffd" not in shown


def test_a_word_that_alone_is_too_long_is_cut_between_tokens(byte_level):
    """Rather than dropped: all of it is read in windows."""
    word = "".join(f"{n}x" for n in range(200))
    example = Example("Mood?", word, "good", id="f:1")
    ((*windows,),), _ = Encoder(byte_level, "plain", 60).encode_windows([example], 4)
    shown = [byte_level.decode(one.prompt_ids, skip_special_tokens=True) for one in windows]
    pieces = [one.removeprefix("Mood?\n").removesuffix("\nAnswer:") for one in shown]
    assert all(len(one.prompt_ids) <= 55 for one in windows) and len(windows) > 5
    covered = 0
    for piece in pieces:
        place = word.index(piece)
        assert place <= covered
        covered = place + len(piece)
    assert covered == len(word)
