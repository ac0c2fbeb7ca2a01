"""MBPP (Austin et al., 2021): short Python programs, right if they pass their tests."""

from adept_llm.tasks.splits import NATIVE
from adept_llm.tasks.task import Columns, Task


def _program_and_tests(row: Columns) -> Columns:
    """The program on lines of its own, and what it has to pass."""
    code = row["code"].replace("\r\n", "\n").rstrip()
    return {"program": f"\n{code}", "tests": [row["test_setup_code"], *row["test_list"]]}


MBPP = Task(
    name="mbpp",
    path="google-research-datasets/mbpp",
    config="full",
    revision="4bb6404fdc6cacfda99d4ac4205087b89d32030c",
    splits=NATIVE,
    columns=("text", "code", "test_list", "test_setup_code"),
    instruction="Write Python code that solves the task and passes the test.",
    layout="{text}\n{test_list[0]}",
    target="program",
    metrics=("pass@1",),
    answers="tests",
    derive=_program_and_tests,
    max_length=1024,
    max_new_tokens=256,
)
"""{"task_id": 511, "text": "Write a python function to find minimum sum of factors of a given
number.", "code": "def find_Min_Sum(num): ..", "test_list": ["assert find_Min_Sum(12) == 7",
"assert find_Min_Sum(105) == 15", "assert find_Min_Sum(2) == 2"], "test_setup_code": "",
"challenge_test_list": []}
"""
