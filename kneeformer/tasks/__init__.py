"""The tasks there are. This is the one registry: a plan names a task, and here is what it means."""

from typing import Any

from kneeformer.errors import KneeformerError
from kneeformer.tasks.base import PredictiveTask, Task
from kneeformer.tasks.completion import Completion
from kneeformer.tasks.pretraining import Pretraining
from kneeformer.tasks.registration import BoneRegistration
from kneeformer.tasks.segmentation import Segmentation

TASKS: dict[str, Task[Any]] = {
    "segmentation": Segmentation(),
    "pretraining": Pretraining(),
    "completion": Completion(),
    "registration": BoneRegistration(),
}


def task_named(name: str) -> Task[Any]:
    """Raises KneeformerError: no such task."""
    if name not in TASKS:
        raise KneeformerError(f"task {name!r} is not one of {', '.join(TASKS)}")
    return TASKS[name]


def tasks_for(name: str, labelled: bool) -> list[Task[Any]]:
    """The task of a dataset and those that prepare for it; of a dataset without labels, these alone."""
    tasks = [task_named(name), *(TASKS[n] for n in task_named(name).prepared_by)]
    return [task for task in tasks if labelled or not task.needs_labels]


def predictive(name: str) -> PredictiveTask[Any]:
    """Raises KneeformerError: the task's networks do not predict cases."""
    task = task_named(name)
    if not isinstance(task, PredictiveTask):
        raise KneeformerError(f"task {name!r} prepares networks for others; it predicts nothing itself")
    return task
