"""The number that an answer states, as PEFT's comparison of methods reads it.

Stricter than `final_number`: an answer that names no result behind one of the phrases is wrong, and
so is one that states it with a unit or a thousands separator, unless the right one is spelt so too.
Source: huggingface/peft, method_comparison/MetaMathQA/utils.py (parse_answer, get_accuracy).
"""

from collections.abc import Sequence
from decimal import Decimal

from adept_llm.data import Example

# the first of them that occurs at all counts, and of it the last occurrence
PHRASES = (
    "The answer is: ",
    "The answer is ",
    "The final answer is: ",
    "The final answer is ",
    "#### ",
)


def stated_number(examples: Sequence[Example], predictions: Sequence[str]) -> float:
    """Share whose stated result is the right one: the same number, else the same text."""
    hits = []
    for example, prediction in zip(examples, predictions, strict=True):
        said = stated(prediction)
        hits.append(said is not None and said == stated(example.target))
    return sum(hits) / len(hits)


def stated(text: str) -> float | str | None:
    """What a text states: a number (a fraction's value), else the words; None for nothing."""
    text = text.strip().rstrip(".!?")
    phrase = next((one for one in PHRASES if one in text), None)
    if phrase is None:
        return None
    line = text.rpartition(phrase)[2].strip().partition("\n")[0]
    words = line.strip(" .!?$%")
    number = _number(words)
    return words if number is None or not number.is_finite() else float(number)


def _number(words: str) -> Decimal | None:
    try:
        parts = [Decimal(part.strip()) for part in words.split("/")]
        if len(parts) == 1:
            return parts[0]
        return parts[0] / parts[1] if len(parts) == 2 else None
    except ArithmeticError:
        return None
