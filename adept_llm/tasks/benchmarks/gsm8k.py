"""GSM8K (Cobbe et al., 2021): in neither paper, but what PEFT compares its methods on."""

from adept_llm.tasks.benchmarks.metamathqa import peft_prompt
from adept_llm.tasks.splits import NO_VALIDATION
from adept_llm.tasks.task import Task

GSM8K = Task(
    name="gsm8k",
    path="openai/gsm8k",
    config="main",
    revision="740312add88f781978c0658806c59bc2815b9866",
    splits=NO_VALIDATION,
    columns=("question", "answer"),
    instruction="Solve the problem step by step and end with '#### ' and the number.",
    layout="{question}",
    target="answer",
    metrics=("final_number",),
    reference=peft_prompt("question"),
    max_length=512,
    max_new_tokens=256,
)
"""{"question": "Natalia sold clips to 48 of her friends in April, and then she sold half as many
clips in May. How many clips did Natalia sell altogether in April and May?", "answer": "Natalia sold
48/2 = <<48/2=24>>24 clips in May.\\nNatalia sold 48+24 = <<48+24=72>>72 clips altogether in April
and May.\\n#### 72"}
"""
