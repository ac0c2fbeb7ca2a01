"""What an answer states, on texts whose outcome is plain from the yardstick's rules."""

import pytest

from adept_llm.data import Example
from adept_llm.evaluation.metrics import METRICS
from adept_llm.evaluation.stated_number import stated


@pytest.mark.parametrize(
    "text, said",
    [
        ("x = 4.\n#### 4\nThe answer is: 4", 4.0),
        ("She has 3 + 4 = <<3+4=7>>7 cakes.\n#### 7", 7.0),
        ("The answer is 65.33.", 65.33),
        ("The answer is: $50%!", 50.0),
        ("The answer is: 20/14", 20 / 14),
        ("The answer is: 1/0", "1/0"),
        ("The answer is: 0/0", "0/0"),
        ("The answer is: 1/2/3", "1/2/3"),
        ("The answer is: sNaN", "sNaN"),
        ("The answer is: -Infinity", "-Infinity"),
        ("The answer is: 3\n\nQuestion: what is 5?", 3.0),
        # the first phrase of the list counts, not the last one in the text
        ("The answer is: 3\n#### 5", 3.0),
        ("The answer is: 3 or The answer is: 4", 4.0),
        ("#### 1,005", "1,005"),
        ("The answer is: 5 cakes", "5 cakes"),
        ("so x = 4", None),
        ("the answer is: 4", None),
        ("", None),
    ],
)
def test_stated(text, said):
    assert stated(text) == said


def test_share_of_right_ones():
    """A number that is not behind a phrase is wrong, though `final_number` takes it."""
    targets = ["#### 7", "#### 1,005", "#### 0.5", "#### 4", "#### 4"]
    texts = ["The answer is: 7.0", "The answer is: 1,005", "The answer is: 1/2", "4", "#### 5"]
    examples = [Example("", "q", target, id="f:1") for target in targets]
    assert METRICS["stated_number"](examples, texts) == 3 / 5
    assert METRICS["final_number"](examples, texts) == 3 / 5
    assert METRICS["final_number"](examples[3:4], texts[3:4]) == 1.0
