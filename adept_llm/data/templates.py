r"""Templates: how an example becomes the text in front of its target.

plain, for models that follow no instructions yet (a bare prompt stays as it is)::

    {instruction}
    {input}
    Answer:

alpaca, the wording of Stanford Alpaca, with and without an input; a bare prompt takes the place of
the instruction::

    Below is an instruction that describes a task, paired with an input that provides further
    context. Write a response that appropriately completes the request.

    ### Instruction:
    {instruction}

    ### Input:
    {input}

    ### Response:

A conversation is written as lines under both, in alpaca in the place of the instruction; plain ends
with 'Assistant:' instead of 'Answer:'. One user's message alone is no conversation here but an
instruction, so that a file with conversations of one turn and of several takes both forms::

    System: {content}
    User: {content}
    Assistant: {content}
    User: {content}

chat is the tokenizer's own chat template; instruction and input are one user's message,
'{instruction}\n\n{input}'.

reference is the bare line of text that the papers give T5, such as 'sst2 sentence: a joy', or the
prompt of PEFT's comparison of methods; only the benchmark tasks have one.

The target follows after one space, hence no text here ends in a space; after chat it follows as the
chat template itself would write it (see `target_gap`). An example may have a `gap` of its own.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from adept_llm.data.example import Example
from adept_llm.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEMPLATES = ("plain", "alpaca", "chat", "reference")

ALPACA = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n"
)
ALPACA_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n"
)
# Stands for the input in a chat template: private-use characters, which no template touches.
PLACEHOLDER = "\ue0c0\ue0c1\ue0c0"


Span = tuple[int, int]


class Prompt(NamedTuple):
    """The text in front of a target.

    Attributes:
        text: What is tokenised.
        context: Start and end of the characters in `text` that may be shortened; start equals end
            where nothing may be.
        focus: Start and end of the characters in it that hold the answer, if that is known.
    """

    text: str
    context: Span
    focus: Span | None = None


def render(template: str, example: Example, tokenizer: "PreTrainedTokenizerBase") -> Prompt:
    """Write the prompt of an example; it does not depend on the example's target.

    Args:
        template: One of `TEMPLATES`.
        example: What to write.
        tokenizer: Its chat template is used by 'chat'.

    Returns:
        The text and the span of the context in it.

    Raises:
        InputError: The template is unknown, or the tokenizer's chat template is missing or refuses
            the conversation.
    """
    if template == "plain":
        return _plain(example)
    if template == "alpaca":
        return _alpaca(example)
    if template == "chat":
        return _chat(example, tokenizer)
    if template == "reference":
        return _reference(example)
    raise InputError(f"unknown template {template!r}; known: {', '.join(TEMPLATES)}")


def target_gap(template: str, tokenizer: "PreTrainedTokenizerBase") -> str:
    """The white space between a prompt and its target: the same for all examples.

    Returns:
        One space for all but chat. For chat, what the chat template puts between its generation
        prompt and an answer: '' for ChatML and Llama 3, ' ' for Llama 2.

    Raises:
        InputError: As `render`.
    """
    if template != "chat":
        return " "
    question = {"role": "user", "content": "question"}
    where = "a question with an answer"
    prompt = _apply_chat_template(tokenizer, [question], True, where)
    answer = {"role": "assistant", "content": "answer"}
    answered = _apply_chat_template(tokenizer, [question, answer], False, where)
    gap = answered.removeprefix(prompt).partition("answer")[0]
    return gap if answered.startswith(prompt) and not gap.strip() else ""


def render_messages(
    tokenizer: "PreTrainedTokenizerBase", messages: Sequence[tuple[str, str]], where: str
) -> str:
    """A conversation as the chat template writes it, up to the assistant's next answer.

    Args:
        tokenizer: With the template.
        messages: Pairs of role and content.
        where: For messages.

    Raises:
        InputError: As `render`.
    """
    said = [{"role": role, "content": content} for role, content in messages]
    return _apply_chat_template(tokenizer, said, True, where)


def _plain(example: Example) -> Prompt:
    if example.messages:
        return Prompt(f"{_lines(example)}\nAssistant:", (0, 0))
    if not example.instruction:
        return _bare(example)
    return _around(example.instruction.rstrip() + "\n", example, "\nAnswer:")


def _alpaca(example: Example) -> Prompt:
    if example.instruction and example.input:
        head = f"{ALPACA_WITH_INPUT}{example.instruction.rstrip()}\n\n### Input:\n"
        return _around(head, example, "\n\n### Response:")
    asked = _lines(example) if example.messages else example.instruction or example.input
    return Prompt(f"{ALPACA}{asked.rstrip()}\n\n### Response:", (0, 0))


def _chat(example: Example, tokenizer: "PreTrainedTokenizerBase") -> Prompt:
    if example.messages:
        return Prompt(render_messages(tokenizer, example.messages, example.id), (0, 0))
    if not (example.instruction and example.input):
        content = example.instruction or example.input
        return Prompt(_user_turn(tokenizer, content, example.id), (0, 0))
    head = example.instruction.rstrip() + "\n\n"
    text = _user_turn(tokenizer, head + example.input.rstrip(), example.id)
    # Searching for the input itself would fail where a chat template strips or escapes it.
    model = _user_turn(tokenizer, head + PLACEHOLDER, example.id)
    before, _, after = model.partition(PLACEHOLDER)
    written = text[len(before) : len(text) - len(after)]
    same = text == before + written + after and example.input.startswith(written)
    return _located(text, len(before), written, example) if same else Prompt(text, (0, 0))


def _reference(example: Example) -> Prompt:
    if example.instruction or example.messages:
        raise InputError(
            f"{example.id}: template 'reference' is the papers' form of their own tasks; "
            "take --template plain, alpaca or chat"
        )
    return _bare(example)


def _bare(example: Example) -> Prompt:
    text = example.input.rstrip(" ")
    return _located(text, 0, text, example) if example.context else Prompt(text, (0, 0))


def _around(head: str, example: Example, tail: str) -> Prompt:
    """Put the input between two texts; without one the head's own line break goes too."""
    written = example.input.rstrip()
    if not written:
        return Prompt(head.rstrip() + tail, (0, 0))
    return _located(head + written + tail, len(head), written, example)


def _located(text: str, offset: int, written: str, example: Example) -> Prompt:
    """A prompt that has the input, but for its end, at some place."""

    def place(span: Span) -> Span:
        start, end = (offset + min(character, len(written)) for character in span)
        return start, end

    context = place(example.context or (0, len(written)))
    return Prompt(text, context, place(example.focus) if example.focus else None)


def _lines(example: Example) -> str:
    return "\n".join(f"{role.capitalize()}: {said.rstrip()}" for role, said in example.messages)


def _user_turn(tokenizer: "PreTrainedTokenizerBase", content: str, where: str) -> str:
    return _apply_chat_template(tokenizer, [{"role": "user", "content": content}], True, where)


def _apply_chat_template(
    tokenizer: "PreTrainedTokenizerBase", messages: list[dict[str, str]], ask: bool, where: str
) -> str:
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise InputError(
            f"template 'chat' needs a chat template, and the tokenizer of "
            f"{tokenizer.name_or_path!r} has none: use --template plain or alpaca"
        )
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask)
    except (TemplateError, ValueError) as error:
        line = " ".join(str(error).split())
        raise InputError(f"{where}: the tokenizer's chat template refuses it: {line}") from error
    assert isinstance(text, str)
    return text
