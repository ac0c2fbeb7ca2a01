"""The GLUE tasks (Wang et al., 2019)."""

from adept_llm.tasks.task import Task

PATH = "nyu-mll/glue"
REVISION = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"

SST2 = Task(
    name="sst2",
    path=PATH,
    config="sst2",
    revision=REVISION,
    splits={"train": "train", "validation": "validation"},  # the labels of its test are secret
    columns=("sentence", "label"),
    instruction="Is the sentiment of this sentence negative or positive?",
    layout="{sentence}",
    target="label",
    metrics=("accuracy",),
    labels={0: "negative", 1: "positive"},
)

TASKS = (SST2,)
