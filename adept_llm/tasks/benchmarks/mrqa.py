"""Extractive question answering as MRQA 2019 unified it (Fisch et al., 2019).

Taken from lucadiliello's Parquet files, one data set each, as the papers do; mrqa-workshop/mrqa has
all of them in one split with the same columns, and its rows fit too.
"""

import re
from unicodedata import category

from adept_llm.tasks.splits import LARGE
from adept_llm.tasks.task import Columns, Reference, Task

TITLED = re.compile(r"\s*(?:\[(?:DOC|PAR)\]\s*)?\[TLE\]\s*(.*?)\s*\[(?:SEP|PAR)\]\s*", re.DOTALL)
MARK = re.compile(r"\s*\[(?:DOC|PAR|TLE|SEP)\]\s*")


def _readable(row: Columns) -> Columns:
    """The first answer, and the text with its titles in lines of their own instead of in marks.

    HotpotQA has '[PAR] [TLE] title [SEP] text', SearchQA '[DOC] [TLE] title [PAR] text'.
    """
    if not isinstance(row["answers"], list | tuple):
        raise ValueError("answers must be a list")
    titled = TITLED.sub(r"\n\1: ", row["context"])
    return {"answer": str(row["answers"][0]), "text": MARK.sub("\n", titled).strip()}


def _padded(row: Columns) -> Columns:
    """The texts as T5 has them."""
    texts = {f"padded_{name}": _pad(row[name]) for name in ("context", "question", "answer")}
    return texts | {"padded_answers": [_pad(str(answer)) for answer in row["answers"]]}


def _pad(text: str) -> str:
    """Put a space on either side of all but letters, their marks, digits and '_'."""

    def apart(found: re.Match[str]) -> str:
        return found[0] if category(found[0]).startswith("M") else f" {found[0]} "

    return " ".join(re.sub(r"[^\w\s]", apart, text).split())


def _task(name: str, path: str, revision: str, max_length: int) -> Task:
    return Task(
        name=name,
        path=path,
        config=None,
        revision=revision,
        splits=LARGE,
        columns=("context", "question", "answers"),
        instruction="Answer the question with words of the text.",
        layout="Text: {text}\nQuestion: {question}",
        target="answer",
        metrics=("token_f1", "exact_match"),
        context="text",
        answers="answers",
        derive=_readable,
        keep=lambda row: bool(row["answers"]),
        reference=Reference(
            f"{name} question: {{padded_question}} context: {{padded_context}}",
            instead={
                "text": "padded_context",
                "answer": "padded_answer",
                "answers": "padded_answers",
            },  # fmt: skip
            derive=_padded,
        ),
        max_length=max_length,
    )


NQ = _task(
    "nq",
    "lucadiliello/naturalquestionsshortqa",
    "49435450b0abb287be45639fdaa49a9b56512f9b",
    max_length=512,
)
"""{"context": "<P> Epidemiology is the study and analysis of the distribution ..</P>", "question":
"epidemiologists attempt to explain the link between health and variables such as", "answers":
["age", "race"], "key": "..", "labels": [{"start": [..], "end": [..]}]}
"""

HOTPOTQA = _task(
    "hotpotqa",
    "lucadiliello/hotpotqa",
    "87a889a73da456a0888ab25d6e91aaf2ff6e9976",
    max_length=2048,
)
"""{"context": "[PAR] [TLE] Arthur's Magazine [SEP] Arthur's Magazine (1844-1846) was an American
literary periodical ..", "question": "Which magazine was started first Arthur's Magazine or First
for Women?", "answers": ["Arthur's Magazine"], "key": "..", "labels": [..]}
"""

SEARCHQA = _task(
    "searchqa",
    "lucadiliello/searchqa",
    "c1a979068ba118d85467179b704031d113d689cc",
    max_length=2048,
)
"""{"context": "[DOC] [TLE] .. [PAR] ..", "question": "For the last 8 years of his life, Galileo was
under house arrest for espousing this man's theory", "answers": ["Copernicus"], "key": "..",
"labels": [..]}
"""

NEWSQA = _task(
    "newsqa",
    "lucadiliello/newsqa",
    "728e52920b8e4ffcfaad93fa47556f26a1d82546",
    max_length=2048,
)
"""{"context": "NEW DELHI, India (CNN) -- Police in India have charged 63 people with murder in the
beating death of a company boss who fired them. ..", "question": "What company were they fired
from?", "answers": ["Graziano Transmissioni"], "key": "..", "labels": [..]}
"""

TASKS = (NQ, HOTPOTQA, SEARCHQA, NEWSQA)
