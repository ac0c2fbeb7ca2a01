"""The exact text of each template, and the span of the context in it."""

import pytest

from adept_llm.data.example import Example
from adept_llm.data.templates import PLACEHOLDER, render, target_gap
from adept_llm.errors import InputError

FULL = Example("Which mood?", " a joy ", "good", id="f:1")
SHORT = Example("Say hi.", "", "hi", id="f:2")
BARE = Example("", "2 + 2 = ", "4", id="f:3")
TALK = Example(
    "",
    "",
    "4",
    id="f:4",
    messages=(("system", "Be brief."), ("user", "2?"), ("assistant", "2"), ("user", "2+2?")),
)
INTRO = "Below is an instruction that describes a task. "
INTRO_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. "
)
WRITE = "Write a response that appropriately completes the request.\n\n### Instruction:\n"


@pytest.mark.parametrize(
    "template, example, text, context",
    [
        ("plain", FULL, "Which mood?\n a joy\nAnswer:", " a joy"),
        ("plain", SHORT, "Say hi.\nAnswer:", ""),
        ("plain", BARE, "2 + 2 =", ""),
        ("plain", TALK, "System: Be brief.\nUser: 2?\nAssistant: 2\nUser: 2+2?\nAssistant:", ""),
        (
            "alpaca",
            FULL,
            f"{INTRO_INPUT}{WRITE}Which mood?\n\n### Input:\n a joy\n\n### Response:",
            " a joy",
        ),
        ("alpaca", SHORT, f"{INTRO}{WRITE}Say hi.\n\n### Response:", ""),
        ("alpaca", BARE, f"{INTRO}{WRITE}2 + 2 =\n\n### Response:", ""),
        (
            "chat",
            FULL,
            "<|im_start|>user\nWhich mood?\n\n a joy<|im_end|>\n<|im_start|>assistant\n",
            " a joy",
        ),
        ("chat", SHORT, "<|im_start|>user\nSay hi.<|im_end|>\n<|im_start|>assistant\n", ""),
    ],
)
def test_text_and_context(chatml, template, example, text, context):
    """A changed layout would make every saved adapter worse without a word."""
    prompt = render(template, example, chatml)
    assert prompt.text == text
    assert prompt.text[slice(*prompt.context)] == context


def test_chat_passes_a_conversation_on(chatml):
    """Each turn keeps its role, and the assistant's turn is opened at the end."""
    text = render("chat", TALK, chatml).text
    assert [part.split("\n")[0] for part in text.split("<|im_start|>")[1:]] == [
        *("system", "user", "assistant", "user", "assistant")
    ]


def test_the_context_is_found_where_the_chat_template_strips_it(llama2_chat):
    """The input occurs in the instruction too: a search by text would cut the instruction."""
    example = Example("joy", "joy \n", "good", id="f:1")
    prompt = render("chat", example, llama2_chat)
    assert prompt.text == "<s>[INST] joy\n\njoy [/INST]"
    assert prompt.context == (15, 18)


def test_a_context_that_the_chat_template_rewrites_is_never_cut(make_byte_level, chatml):
    """Its place is unknown, and a guess might cut something else."""
    rewriting = chatml.chat_template.replace(
        "m['content']", f"m['content'] | replace('{PLACEHOLDER}', 'x' * 99)"
    )
    prompt = render("chat", FULL, make_byte_level(chat_template=rewriting))
    assert prompt.context == (0, 0)


def test_the_gap_before_the_target(chatml, llama2_chat):
    """An answer stands where the chat model has always seen answers."""
    assert target_gap("plain", chatml) == target_gap("alpaca", chatml) == " "
    assert target_gap("chat", chatml) == ""
    assert target_gap("chat", llama2_chat) == " "


def test_chat_without_a_chat_template_names_the_way_out(byte_level):
    """Otherwise the user reads a traceback from within transformers."""
    with pytest.raises(InputError, match="--template plain or alpaca"):
        render("chat", SHORT, byte_level)


def test_a_conversation_that_the_chat_template_refuses_is_named(llama2_chat):
    """The chat template's own error has no place in it."""
    with pytest.raises(InputError, match="f:4: .* no system role here"):
        render("chat", TALK, llama2_chat)


def test_an_unknown_template_is_refused(byte_level):
    """With the known ones."""
    with pytest.raises(InputError, match="unknown template 'vicuna'; known: plain, alpaca, chat"):
        render("vicuna", SHORT, byte_level)
