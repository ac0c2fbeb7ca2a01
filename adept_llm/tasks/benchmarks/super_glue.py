"""The SuperGLUE tasks of the papers (Wang et al., 2019); its test labels are secret."""

import re

from adept_llm.tasks.splits import LARGE, SMALL
from adept_llm.tasks.task import Columns, Reference, Task

PATH = "aps/super_glue"
REVISION = "3de24cf8022e94f4ee4b9d55a6f539891524d646"


def _without_markup(row: Columns) -> Columns:
    """MultiRC's texts without their HTML tags."""
    tags = (("<br>", " "), ("<b>", ""), ("</b>", ""))
    plain = {name: row[name] for name in ("paragraph", "question", "answer")}
    for tag, instead in tags:
        plain = {name: text.replace(tag, instead) for name, text in plain.items()}
    return plain


def _with_marks(row: Columns) -> Columns:
    """WSC's text with a star on either side of the noun and a hash on either side of the pronoun.

    As in T5; the places are counted in words, and punctuation behind a word is no part of it.
    """
    words = row["text"].split(" ")
    spans = [
        (row["span1_index"], row["span1_text"], "*"),
        (row["span2_index"], row["span2_text"], "#"),
    ]
    for index, span, mark in sorted(spans, reverse=True):
        end = index + len(span.split(" "))
        found = " ".join(words[index:end])
        if not found:
            raise ValueError(f"there is no word {index} for {span!r}")
        size = len(span) if found.lower().startswith(span.lower()) else len(found)
        words[index:end] = [f"{mark} {found[:size]} {mark}{found[size:]}"]
    return {"marked": " ".join(words)}


def _readable(row: Columns) -> Columns:
    """ReCoRD's passage with its summary points as sentences, and its entities in one line."""
    for name in ("entities", "answers"):
        if not isinstance(row[name], list | tuple):
            raise ValueError(f"{name} must be a list")
    passage = re.sub(r"""([.?!"'])\n@highlight\n""", r"\1 ", row["passage"])
    passage = re.sub(r"\n@highlight\n", ". ", passage)
    names, answers = list(row["entities"]), list(row["answers"])
    return {"passage": passage, "names": ", ".join(names), "answer": answers[0]}


BOOLQ = Task(
    name="boolq",
    path=PATH,
    config="boolq",
    revision=REVISION,
    splits=SMALL,
    columns=("question", "passage", "label"),
    instruction="Answer the question about the passage with no or yes.",
    layout="Passage: {passage}\nQuestion: {question}?",
    target="label",
    metrics=("accuracy",),
    labels={0: "no", 1: "yes"},
    context="passage",
    reference=Reference("superglue-boolq question: {question} passage: {passage}"),
    max_length=512,
)
"""{"question": "do iran and afghanistan speak the same language", "passage": "Persian language --
Persian, also known by its endonym Farsi, is one of the ..", "idx": 0, "label": 1}
"""

CB = Task(
    name="cb",
    path=PATH,
    config="cb",
    revision=REVISION,
    splits=SMALL,
    columns=("premise", "hypothesis", "label"),
    instruction="Is the hypothesis an entailment of the premise, a contradiction or neutral to it?",
    layout="Premise: {premise}\nHypothesis: {hypothesis}",
    target="label",
    metrics=("macro_f1", "accuracy"),
    labels={0: "entailment", 1: "contradiction", 2: "neutral"},
    context="premise",
    reference=Reference("superglue-cb premise: {premise} hypothesis: {hypothesis}"),
)
"""{"premise": "It was a complex language. Not written down but handed down. One might say it was
peeled down.", "hypothesis": "the language was peeled down", "idx": 0, "label": 0}
"""

MULTIRC = Task(
    name="multirc",
    path=PATH,
    config="multirc",
    revision=REVISION,
    splits=SMALL,
    columns=("paragraph", "question", "answer", "idx", "label"),
    instruction="Is the answer to the question about the paragraph wrong or right?",
    layout="Paragraph: {paragraph}\nQuestion: {question}\nAnswer to judge: {answer}",
    target="label",
    metrics=("f1a", "grouped_exact_match"),
    labels={0: "wrong", 1: "right"},
    context="paragraph",
    group="{idx[paragraph]}-{idx[question]}",
    derive=_without_markup,
    reference=Reference(
        "superglue-multirc question: {question} answer: {answer} paragraph: {paragraph}"
    ),
    max_length=1024,
)
"""{"paragraph": "What causes a change in motion? The application of a force. ..", "question":
"Would the mass of a baseball affect how much force you have to use to pick it up?", "answer": "No",
"idx": {"paragraph": 0, "question": 0, "answer": 0}, "label": 0}
"""

WIC = Task(
    name="wic",
    path=PATH,
    config="wic",
    revision=REVISION,
    splits=SMALL,
    columns=("word", "sentence1", "sentence2", "label"),
    instruction="Does the word '{word}' mean the same in both sentences?",
    layout="Sentence 1: {sentence1}\nSentence 2: {sentence2}",
    target="label",
    metrics=("accuracy",),
    labels={0: "no", 1: "yes"},
    reference=Reference("superglue-wic sentence1: {sentence1} sentence2: {sentence2} word: {word}"),
    max_length=128,
)
"""{"word": "class", "sentence1": "An emerging professional class.", "sentence2": "Apologizing for
losing your temper, even though you were badly provoked, showed real class.", "start1": 25,
"start2": 85, "end1": 30, "end2": 90, "idx": 0, "label": 0}
"""

WSC = Task(
    name="wsc.fixed",
    path=PATH,
    config="wsc.fixed",
    revision=REVISION,
    splits=SMALL,
    columns=("text", "span1_index", "span2_index", "span1_text", "span2_text", "label"),
    instruction="Does # {span2_text} # stand for * {span1_text} * in this text?",
    layout="{marked}",
    target="label",
    metrics=("accuracy",),
    labels={0: "no", 1: "yes"},
    derive=_with_marks,
    reference=Reference("superglue-wsc.fixed text: {marked}"),
)
"""{"text": "Mark told Pete many lies about himself, which Pete included in his book. He should have
been more skeptical.", "span1_index": 0, "span2_index": 13, "span1_text": "Mark", "span2_text":
"He", "idx": 0, "label": 0}
"""

RECORD = Task(
    name="record",
    path=PATH,
    config="record",
    revision=REVISION,
    splits=LARGE,
    columns=("passage", "query", "entities", "answers"),
    instruction="Which of the names belongs in the place of @placeholder?",
    layout="Passage: {passage}\nNames: {names}\nSentence: {query}",
    target="answer",
    metrics=("token_f1", "exact_match"),
    context="passage",
    answers="answers",
    derive=_readable,
    keep=lambda row: bool(row["answers"]),
    reference=Reference(
        "superglue-record record query: {query} entities: {names} passage: {passage}"
    ),
    max_length=1024,
)
"""{"passage": "The harrowing stories of women and children locked up for so-called 'moral crimes'
in Afghanistan's notorious female prison ..\\n@highlight\\nPrison ..", "query": "The baby she gave
birth to is her husbands and he has even offered to have the courts set her free if she returns, but
@placeholder has refused.", "entities": ["Badam Bagh", "Nuria", "Afghanistan"], "answers":
["Nuria"], "idx": {"passage": 0, "query": 0}}
"""

TASKS = (BOOLQ, CB, MULTIRC, WIC, WSC, RECORD)
