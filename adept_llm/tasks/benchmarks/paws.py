"""PAWS-Wiki (Zhang, Baldridge and He, 2019), with labelled splits of its own."""

from adept_llm.tasks.splits import NATIVE
from adept_llm.tasks.task import Reference, Task

PAWS = Task(
    name="paws",
    path="google-research-datasets/paws",
    config="labeled_final",
    revision="161ece9501cf0a11f3e48bd356eaa82de46d6a09",
    splits=NATIVE,
    columns=("sentence1", "sentence2", "label"),
    instruction="Do these two sentences mean the same? Answer different or equivalent.",
    layout="Sentence 1: {sentence1}\nSentence 2: {sentence2}",
    target="label",
    metrics=("accuracy",),
    labels={0: "different", 1: "equivalent"},
    reference=Reference("paws sentence1: {sentence1} sentence2: {sentence2}"),
)
"""{"id": 1, "sentence1": "In Paris , in October 1560 , he secretly met the English ambassador ,
Nicolas Throckmorton , asking him for a passport to return to England through Scotland .",
"sentence2": "In October 1560 , he secretly met with the English ambassador , Nicolas Throckmorton ,
in Paris , and asked him for a passport to return to Scotland through England .", "label": 0}
"""
