"""Yelp polarity (Zhang, Zhao and LeCun, 2015)."""

from adept_llm.tasks.splits import NO_VALIDATION
from adept_llm.tasks.task import Reference, Task

YELP_POLARITY = Task(
    name="yelp_polarity",
    path="fancyzhx/yelp_polarity",
    config="plain_text",
    revision="bbf1c97a1f0cf005e5aded43839fd814654a1557",
    splits=NO_VALIDATION,
    columns=("text", "label"),
    instruction="Is the sentiment of this review negative or positive?",
    layout="{text}",
    target="label",
    metrics=("accuracy",),
    labels={0: "negative", 1: "positive"},
    context="text",
    reference=Reference("yelp_polarity sentence: {text}"),
    max_length=1024,
)
"""{"text": "Unfortunately, the frustration of being Dr. Goldberg's patient is a repeat of the
experience I've had with so many other doctors in NYC ..", "label": 0}
"""
