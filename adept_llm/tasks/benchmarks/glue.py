"""The GLUE tasks of the papers (Wang et al., 2019); the labels of its test splits are secret."""

from adept_llm.tasks.splits import LARGE, SMALL, Part
from adept_llm.tasks.task import Columns, Reference, Task

PATH = "nyu-mll/glue"
REVISION = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"
SCORES = tuple(f"{step / 5:.1f}" for step in range(26))  # '0.0', '0.2', .. '5.0'


def _nearest_score(row: Columns) -> Columns:
    """STS-B's mean of ratings, snapped to steps of 0.2.

    The papers' code rounds to one decimal only, so that a third of its targets are no label.
    """
    label = float(row["label"])
    if not 0 <= label <= 5:
        raise ValueError(f"label {label:g} is not within 0 to 5")
    return {"score": SCORES[round(label * 5)]}


COLA = Task(
    name="cola",
    path=PATH,
    config="cola",
    revision=REVISION,
    splits=SMALL,
    columns=("sentence", "label"),
    instruction="Is this sentence grammatically acceptable or unacceptable?",
    layout="{sentence}",
    target="label",
    metrics=("matthews",),
    labels={0: "unacceptable", 1: "acceptable"},
    reference=Reference("cola sentence: {sentence}"),
    max_length=128,
)
"""{"sentence": "The sailors rode the breeze clear of the rocks.", "label": 1, "idx": 0}"""

SST2 = Task(
    name="sst2",
    path=PATH,
    config="sst2",
    revision=REVISION,
    splits=LARGE,
    columns=("sentence", "label"),
    instruction="Is the sentiment of this sentence negative or positive?",
    layout="{sentence}",
    target="label",
    metrics=("accuracy",),
    labels={0: "negative", 1: "positive"},
    context="sentence",
    reference=Reference("sst2 sentence: {sentence}"),
    max_length=64,
)
"""{"sentence": "it 's a charming and often affecting journey . ", "label": 1, "idx": 0}"""

MRPC = Task(
    name="mrpc",
    path=PATH,
    config="mrpc",
    revision=REVISION,
    splits=SMALL,
    columns=("sentence1", "sentence2", "label"),
    instruction="Do these two sentences mean the same? Answer different or equivalent.",
    layout="Sentence 1: {sentence1}\nSentence 2: {sentence2}",
    target="label",
    metrics=("f1", "accuracy"),
    labels={0: "different", 1: "equivalent"},
    reference=Reference("mrpc sentence1: {sentence1} sentence2: {sentence2}"),
)
"""{"sentence1": "Amrozi accused his brother , whom he called \" the witness \" , of ..",
"sentence2": "Referring to him as only \" the witness \" , Amrozi accused his brother of ..",
"label": 1, "idx": 0}
"""

STSB = Task(
    name="stsb",
    path=PATH,
    config="stsb",
    revision=REVISION,
    splits=SMALL,
    columns=("sentence1", "sentence2", "label"),
    instruction="How similar are these two sentences, from 0.0 (unrelated) to 5.0 (the same)?",
    layout="Sentence 1: {sentence1}\nSentence 2: {sentence2}",
    target="score",
    metrics=("pearson", "spearman"),
    labels={score: score for score in SCORES},
    answers="label",
    derive=_nearest_score,
    reference=Reference("stsb sentence1: {sentence1} sentence2: {sentence2}", labels=SCORES),
)
"""{"sentence1": "A man with a hard hat is dancing.", "sentence2": "A man wearing a hard hat is
dancing.", "label": 5.0, "idx": 0}
"""

QQP = Task(
    name="qqp",
    path=PATH,
    config="qqp",
    revision=REVISION,
    splits=LARGE,
    columns=("question1", "question2", "label"),
    instruction="Do these two questions ask the same? Answer different or duplicate.",
    layout="Question 1: {question1}\nQuestion 2: {question2}",
    target="label",
    metrics=("f1", "accuracy"),
    labels={0: "different", 1: "duplicate"},
    reference=Reference("qqp question1: {question1} question2: {question2}"),
    max_length=512,
)
"""{"question1": "How is the life of a math student? Could you describe your own experiences?",
"question2": "Which level of prepration is enough for the exam jlpt5?", "label": 0, "idx": 0}
"""

MNLI = Task(
    name="mnli",
    path=PATH,
    config="mnli",
    revision=REVISION,
    # two validation splits: the papers choose on the mismatched genres and test on the matched ones
    splits={
        "train": Part("train"),
        "validation": Part("validation_mismatched"),
        "test": Part("validation_matched"),
    },
    columns=("premise", "hypothesis", "label"),
    instruction="Is the hypothesis an entailment of the premise, neutral to it or a contradiction?",
    layout="Premise: {premise}\nHypothesis: {hypothesis}",
    target="label",
    metrics=("accuracy",),
    labels={0: "entailment", 1: "neutral", 2: "contradiction"},
    context="premise",
    reference=Reference("mnli premise: {premise} hypothesis: {hypothesis}"),
)
"""{"premise": "Conceptually cream skimming has two basic dimensions - product and geography.",
"hypothesis": "Product and geography are what make cream skimming work. ", "label": 1, "idx": 0}
"""

QNLI = Task(
    name="qnli",
    path=PATH,
    config="qnli",
    revision=REVISION,
    splits=LARGE,
    columns=("question", "sentence", "label"),
    instruction="Does the sentence answer the question?",
    layout="Sentence: {sentence}\nQuestion: {question}",
    target="label",
    metrics=("accuracy",),
    labels={0: "yes", 1: "no"},
    context="sentence",
    reference=Reference("qnli question: {question} sentence: {sentence}"),
)
"""{"question": "When did the third Digimon series begin?", "sentence": "Unlike the two seasons
before it and most of the seasons that followed, Digimon Tamers takes ..", "label": 1, "idx": 0}
"""

RTE = Task(
    name="rte",
    path=PATH,
    config="rte",
    revision=REVISION,
    splits=SMALL,
    columns=("sentence1", "sentence2", "label"),
    instruction="Is the hypothesis an entailment of the premise, or not an entailment?",
    layout="Premise: {sentence1}\nHypothesis: {sentence2}",
    target="label",
    metrics=("accuracy",),
    labels={0: "entailment", 1: "not entailment"},
    context="sentence1",
    reference=Reference("rte sentence1: {sentence1} sentence2: {sentence2}"),
)
"""{"sentence1": "No Weapons of Mass Destruction Found in Iraq Yet.", "sentence2": "Weapons of Mass
Destruction Found in Iraq.", "label": 1, "idx": 0}
"""

TASKS = (COLA, SST2, MRPC, STSB, QQP, MNLI, QNLI, RTE)
