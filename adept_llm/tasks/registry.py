"""All benchmark tasks by name."""

from difflib import get_close_matches

from adept_llm.errors import InputError
from adept_llm.tasks.benchmarks import (
    glue,
    gsm8k,
    mbpp,
    metamathqa,
    mrqa,
    paws,
    scitail,
    super_glue,
    winogrande,
    yelp,
)
from adept_llm.tasks.task import Task

# GLUE and SuperGLUE, MRQA, the others of the papers, and what PEFT compares its methods on
ALL = (
    *glue.TASKS,
    *super_glue.TASKS,
    *mrqa.TASKS,
    winogrande.WINOGRANDE,
    yelp.YELP_POLARITY,
    scitail.SCITAIL,
    paws.PAWS,
    mbpp.MBPP,
    gsm8k.GSM8K,
    metamathqa.METAMATHQA,
)
TASKS = {task.name: task for task in ALL}


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
