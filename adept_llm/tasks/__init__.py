"""The benchmark tasks: declarations, splits, and the rows of the hub."""

from adept_llm.tasks.loading import load_hub_split, load_split
from adept_llm.tasks.registry import get_task, task_names
from adept_llm.tasks.task import Reference, Task

__all__ = ["Reference", "Task", "get_task", "load_hub_split", "load_split", "task_names"]
