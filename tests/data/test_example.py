"""What an Example refuses: had it passed, training would learn from a broken row."""

import pytest

from adept_llm.data.example import Example, asked
from adept_llm.errors import InputError


def test_the_three_forms_are_accepted():
    """Instruction, bare prompt and conversation."""
    assert Example("Say hi.", "", "hi", id="f:1").labels == ()
    assert Example("", "2+2=", "4", id="f:2").input == "2+2="
    assert Example("", "", "4", id="f:3", messages=(("user", "2+2?"),)).messages


@pytest.mark.parametrize("form", ["instruction", "prompt", "messages"])
def test_a_question_has_the_form_of_the_rows(form):
    """It would else be written in a way that no training row was."""
    assert asked("2+2?", form, "f:1").form == form


def test_a_question_of_unknown_form_is_a_bare_prompt_and_turns_are_kept():
    assert asked("2+2?", "", "f:1") == Example("", "2+2?", "?", id="f:1")
    before = (("user", "Hi"), ("assistant", "Hello"))
    assert asked("2+2?", "", "f:1", before).messages == (*before, ("user", "2+2?"))


@pytest.mark.parametrize("target", ["", " ", "\n\t"])
def test_an_empty_target_is_refused(target):
    """Otherwise a model is taught to answer nothing."""
    with pytest.raises(InputError, match=r"f:1: the target is empty"):
        Example("Say hi.", "", target, id="f:1")


def test_a_target_outside_of_the_labels_is_refused():
    """Otherwise label scoring could never be right."""
    with pytest.raises(InputError, match=r"f:1: target 'maybe' is not a label; known: 'no', 'yes'"):
        Example("Well?", "", "maybe", id="f:1", labels=("no", "yes"))


@pytest.mark.parametrize("instruction, messages", [("", ()), ("Say hi.", (("user", "hi"),))])
def test_exactly_one_form_is_given(instruction, messages):
    """Otherwise half of the prompt would be ignored without a word."""
    with pytest.raises(InputError, match="not both or none"):
        Example(instruction, "", "hi", id="f:1", messages=messages)


def test_a_conversation_ends_with_the_user():
    """Otherwise the target would answer the assistant's own words."""
    with pytest.raises(InputError, match="must be a user's"):
        Example("", "", "hi", id="f:1", messages=(("user", "a"), ("assistant", "b")))


def test_half_a_surrogate_pair_is_refused():
    """Otherwise the tokenizer dies without naming the row."""
    with pytest.raises(InputError, match=r"f:1: .*surrogate"):
        Example("Say hi.", "\ud800", "hi", id="f:1")
