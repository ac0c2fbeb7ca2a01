"""Ids: the boundary stays, target and EOS stay, only the context's end goes."""

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
@settings(max_examples=60, deadline=None, derandomize=True)
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

    removable = _context_tokens(tokenizer, template, example, len(whole.prompt_ids))
    limit = max(2, len(whole.prompt_ids) + len(whole.target_ids) - cut)
    short = Encoder(tokenizer, template, limit).encode(example)
    if short is None:
        assert len(whole.prompt_ids) - len(removable) + len(whole.target_ids) > limit
        return
    assert len(short.prompt_ids) + len(short.target_ids) <= limit
    assert short.target_ids == whole.target_ids
    assert (short.truncated > 0) == (cut > 0)
    assert short.truncated <= len(removable)
    end = removable.stop
    assert short.prompt_ids == whole.prompt_ids[: end - short.truncated] + whole.prompt_ids[end:]


def _context_tokens(tokenizer, template, example, length):
    """Which of the whole prompt's ids lie in the context, as a range."""
    text, (start, end), _ = render(template, example, tokenizer)
    spans = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True).offset_mapping
    bos = length - len(spans)
    inside = [bos + n for n, (a, b) in enumerate(spans) if start <= a < b <= end] or [0, -1]
    return range(inside[0], inside[-1] + 1)


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


@pytest.mark.parametrize("name, template", CASES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    before=TEXT, context=FILLED, after=TEXT, cut=st.integers(0, 60), place=st.integers(0, 40),
    reserve=st.integers(1, 9),
)  # fmt: skip
def test_windows_lose_nothing_but_context_and_see_all_of_it(
    tokenizers, name, template, before, context, after, cut, place, reserve
):
    """For any text; a window without its question would be answered by chance."""
    tokenizer = tokenizers[name]
    context = context * 3
    span = (len(before), len(before) + len(context))
    example = Example(
        "Why?", before + context + after, "yes", id="f:1", context=span,
        focus=(span[0] + min(place, len(context) - 1), span[1]),
    )  # fmt: skip
    whole = Encoder(tokenizer, template, PLENTY).encode(example).prompt_ids
    limit = max(2, len(whole) + reserve + 1 - cut)
    encoder = Encoder(tokenizer, template, limit)
    try:
        ((*windows,),), report = encoder.encode_windows([example], reserve)
    except InputError:
        assert len(whole) + reserve + 1 > limit
        return
    removable = _context_tokens(tokenizer, template, example, len(whole))
    seen = set()
    for window in windows:
        ids = window.prompt_ids
        assert len(ids) + reserve + 1 <= limit
        tail = len(whole) - removable.stop
        assert ids[: removable.start] == whole[: removable.start]
        assert ids[len(ids) - tail :] == whole[removable.stop :]
        assert len(ids) + window.truncated == len(whole)
        kept = ids[removable.start : len(ids) - tail]
        seen |= {
            first + n
            for first in removable
            for n in range(len(kept))
            if whole[first : first + len(kept)] == kept
        }
    assert report.windows == len(windows)
    if len(windows) == 1 and not windows[0].truncated:
        assert windows[0].prompt_ids == whole
    # a character of several tokens that is larger than a window is in none
    if all(len(w.prompt_ids) > len(whole) - len(removable) + 8 for w in windows):
        assert seen >= set(removable)
