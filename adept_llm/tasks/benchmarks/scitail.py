"""SciTail (Khot, Sabharwal and Clark, 2018), with labelled splits of its own."""

from adept_llm.tasks.splits import NATIVE
from adept_llm.tasks.task import Reference, Task

SCITAIL = Task(
    name="scitail",
    path="allenai/scitail",
    config="snli_format",
    revision="0cc4353235b289165dfde1c7c5d1be983f99ce44",
    splits=NATIVE,
    columns=("sentence1", "sentence2", "gold_label"),
    instruction="Is the hypothesis an entailment of the premise, or neutral to it?",
    layout="Premise: {sentence1}\nHypothesis: {sentence2}",
    target="gold_label",
    metrics=("accuracy",),
    labels={"entailment": "entailment", "neutral": "neutral"},
    context="sentence1",
    reference=Reference("scitail premise: {sentence1} hypothesis: {sentence2}"),
)
"""{"sentence1": "Pluto rotates once on its axis every 6.39 Earth days;", "sentence2": "Earth
rotates on its axis once times in one day.", "gold_label": "neutral", ..}
"""
