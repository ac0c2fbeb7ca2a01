"""One example: what is asked, of which text, and the right answer."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from adept_llm.errors import InputError


@dataclass(frozen=True, slots=True)
class Example:
    """An instruction, the text it is about, and the answer to learn.

    Exactly one of three forms is used:

    * `instruction`, with or without `input`: the usual form;
    * `input` alone: a bare prompt, which the plain template uses as it is and nothing shortens;
    * `messages` alone: a conversation that ends with a user's turn.

    Example:
        >>> Example("Is this review negative or positive?", "a joy to watch", "positive",
        ...         id="train.jsonl:17", labels=("negative", "positive"))

    Attributes:
        instruction: What to do.
        input: The text that it is about.
        target: The answer to learn; never empty.
        id: Where the example comes from, such as 'train.jsonl:17' or 'sst2/train/17'.
        labels: For classification all label words, one of which is the target; else empty.
        messages: Pairs of role ('system', 'user' or 'assistant') and content before the target.
        context: Start and end of the characters of `input` that may be shortened; None is all of
            them below an instruction, and none of a bare prompt.
        focus: Start and end of the characters of `input` that hold the answer, where known: what
            stays when the context of a training example is shortened.
        answers: What metrics compare a prediction with, if it is not the target: all accepted
            answers, the exact score, or the tests that a program has to pass.
        group: Examples that one metric counts as one (MultiRC's answers to one question).
        gap: White space between prompt and target; None is what the template has there.

    Raises:
        InputError: The target is empty or not a label, the prompt is empty or has two forms, or a
            text is no valid Unicode.
    """

    instruction: str
    input: str
    target: str
    id: str
    labels: tuple[str, ...] = ()
    messages: tuple[tuple[str, str], ...] = ()
    context: tuple[int, int] | None = None
    focus: tuple[int, int] | None = None
    answers: tuple[str, ...] = ()
    group: str = ""
    gap: str | None = None

    @property
    def form(self) -> str:
        """'instruction', 'prompt' for a bare one, or 'messages'."""
        if self.messages:
            return "messages"
        return "instruction" if self.instruction else "prompt"

    def __post_init__(self) -> None:
        """Check the form and the texts."""
        if not self.target.strip():
            raise InputError(f"{self.id}: the target is empty; give an answer or remove the row")
        if self.labels and self.target not in self.labels:
            known = ", ".join(map(repr, self.labels))
            raise InputError(f"{self.id}: target {self.target!r} is not a label; known: {known}")
        if bool(self.messages) == bool((self.instruction + self.input).strip()):
            raise InputError(f"{self.id}: give either a prompt or a conversation, not both or none")
        if self.messages and self.messages[-1][0] != "user":
            raise InputError(f"{self.id}: the last message before the target must be a user's")
        said = [content for _, content in self.messages]
        for text in (self.instruction, self.input, self.target, *said):
            # JSON can smuggle in half a surrogate pair, on which tokenizers die without a place.
            if not _is_unicode(text):
                raise InputError(f"{self.id}: a lone surrogate is no valid Unicode; remove it")


def asked(text: str, form: str, where: str, before: tuple[tuple[str, str], ...] = ()) -> Example:
    """What a user asks, as the rows did that were learnt; its target stands for nothing.

    Args:
        text: The words.
        form: Of the rows, see `Example.form`; '' asks as a bare prompt.
        where: The example's id.
        before: Earlier turns of a conversation.
    """
    if form == "messages" or before:
        return Example("", "", "?", id=where, messages=(*before, ("user", text)))
    words = (text, "") if form == "instruction" else ("", text)
    return Example(*words, "?", id=where)


def fingerprint(examples: Iterable[Example]) -> str:
    """A short hash of what is learnt or measured; ids and the data's place do not matter.

    Returns:
        12 hexadecimal digits, the same for the same examples in the same order.
    """
    digest = sha256()
    for one in examples:
        digest.update(content(one))
    return digest.hexdigest()[:12]


def content(one: Example) -> bytes:
    """What of an example goes into its fingerprint."""
    parts = (one.instruction, one.input, one.target, one.labels, one.messages, one.answers)
    return repr(parts if one.gap is None else (*parts, one.gap)).encode()


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
