"""The tasks there are. This is the one registry: a plan names a task, and here is what it means."""

from kneeformer.errors import KneeformerError
from kneeformer.tasks.base import Task
from kneeformer.tasks.segmentation import Segmentation

TASKS: dict[str, Task] = {"segmentation": Segmentation()}


def task_named(name: str) -> Task:
    """Raises KneeformerError: no such task."""
    if name not in TASKS:
        raise KneeformerError(f"task {name!r} is not one of {', '.join(TASKS)}")
    return TASKS[name]
