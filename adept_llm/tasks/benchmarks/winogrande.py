"""WinoGrande (Sakaguchi et al., 2020); the labels of its test split are secret."""

from adept_llm.tasks.splits import LARGE
from adept_llm.tasks.task import Reference, Task

WINOGRANDE = Task(
    name="winogrande",
    path="allenai/winogrande",
    config="winogrande_xl",
    revision="01e74176c63542e6b0bcb004dcdea22d94fb67b5",
    splits=LARGE,
    columns=("sentence", "option1", "option2", "answer"),
    instruction="What belongs in the place of _ in this sentence: {option1} or {option2}?",
    layout="{sentence}",
    target="answer",
    metrics=("accuracy",),
    labels={"1": "{option1}", "2": "{option2}"},
    # the papers' code writes option 1 twice
    reference=Reference("winogrande sentence: {sentence} option0: {option1} option1: {option2}"),
    max_length=128,
)
"""{"sentence": "The library always had more books than computers, most likely because the _ are
bigger.", "option1": "books", "option2": "computers", "answer": "2"}
"""
