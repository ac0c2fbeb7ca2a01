"""What PEFT compares its methods on: learn from MetaMathQA (Yu et al., 2023), answer GSM8K.

The protocol is that of huggingface/peft, folder method_comparison/MetaMathQA, read at commit
5d602fd of August 2026: data.py (rows and splits), default_training_params.json (prompt, lengths),
utils.py (when an answer counts). docs/metamathqa.md tells it, and where we differ.

MetaMathQA was made of GSM8K's train split, and the yardstick validates on 50 rows of that: the
validation score is no guess of the test score, it can only compare runs.
"""

from adept_llm.tasks.splits import Part
from adept_llm.tasks.task import Columns, Reference, Task

MOST_CHARACTERS = 1300
INSTRUCTION = "Solve the problem step by step and end with 'The answer is: ' and the number."
MAX_NEW_TOKENS = 300
METRICS = ("stated_number", "final_number")


def _is_short(row: Columns) -> bool:
    """Query and response with a space between them, as the yardstick counts."""
    return len(f"{row['query']} {row['response']}") <= MOST_CHARACTERS


def peft_prompt(column: str) -> Reference:
    """The yardstick's prompt; an answer follows without a space."""
    return Reference(f"Question: {{{column}}} Think step by step.\nAnswer:", gap="")


GSM8K_OF_PEFT = Task(
    name="gsm8k",
    path="openai/gsm8k",
    config="main",
    revision="740312add88f781978c0658806c59bc2815b9866",
    splits={"validation": Part("train", "50 drawn"), "test": Part("test")},
    columns=("question", "answer"),
    instruction=INSTRUCTION,
    layout="{question}",
    target="answer",
    metrics=METRICS,
    reference=peft_prompt("question"),
    max_length=1024,
    max_new_tokens=MAX_NEW_TOKENS,
)

METAMATHQA = Task(
    name="metamathqa",
    path="meta-math/MetaMathQA",
    config=None,
    revision="aa4f34d3d2d3231299b5b03d9b3e5a20da45aa18",
    splits={"train": Part("train")},
    measured_on=GSM8K_OF_PEFT,
    columns=("query", "response"),
    instruction=INSTRUCTION,
    layout="{query}",
    target="response",
    metrics=METRICS,
    keep=_is_short,
    reference=peft_prompt("query"),
    max_length=1024,
    max_new_tokens=MAX_NEW_TOKENS,
)
"""{"query": "Ann has 3 cakes and buys x more. She has 7 cakes now. What is x?", "response": "Ann
has 3 + x cakes, so 3 + x = 7 and x = 4.\\n#### 4\\nThe answer is: 4", "type": "GSM_SV",
"original_question": ".."}
"""
