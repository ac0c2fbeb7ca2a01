"""All benchmark tasks by name."""

from difflib import get_close_matches

from adept_llm.errors import InputError
from adept_llm.tasks import glue
from adept_llm.tasks.task import Task

TASKS = {task.name: task for task in (*glue.TASKS,)}


def task_names() -> tuple[str, ...]:
    """The names of all tasks, sorted."""
    return tuple(sorted(TASKS))


def get_task(name: str) -> Task:
    """Look a task up.

    Args:
        name: Its name, such as 'sst2'.

    Returns:
        The task.

    Raises:
        InputError: There is none of that name; suggests the closest ones.
    """
    if name in TASKS:
        return TASKS[name]
    close = get_close_matches(name.lower(), TASKS)
    meant = f" (did you mean {' or '.join(close)}?)" if close else ""
    raise InputError(f"unknown task {name!r}{meant}; known: {', '.join(task_names())}")
