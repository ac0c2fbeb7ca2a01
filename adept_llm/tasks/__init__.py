"""Data: the benchmark tasks, the user's own files, templates and encoding."""

from adept_llm.tasks.encoding import Encoded, Encoder, Report
from adept_llm.tasks.example import Example
from adept_llm.tasks.instruction_files import label_set, read_instructions
from adept_llm.tasks.loading import fingerprint, load_hub_split, load_split
from adept_llm.tasks.registry import get_task, task_names
from adept_llm.tasks.task import Reference, Task
from adept_llm.tasks.templates import TEMPLATES

__all__ = [
    "TEMPLATES",
    "Encoded",
    "Encoder",
    "Example",
    "Reference",
    "Report",
    "Task",
    "fingerprint",
    "get_task",
    "label_set",
    "load_hub_split",
    "load_split",
    "read_instructions",
    "task_names",
]
