"""Registry of tasks: the one module that names them all.

Configurations of a plan name their task, and the registry maps the name to its parts. Settings, preparation
and evaluation need no torch; the task itself does, and is loaded when it is first used.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from kneeformer.config import Configuration, CropConfiguration
from kneeformer.errors import KneeformerError
from kneeformer.metrics.overlap import DICE
from kneeformer.tasks.bone_completion.evaluation import EVALUATION as BONE_EVALUATION
from kneeformer.tasks.bone_completion.isolation import prepare_bone
from kneeformer.tasks.bone_completion.settings import BoneConfiguration
from kneeformer.tasks.evaluation import Evaluation, LeadingScore
from kneeformer.tasks.label_map_scores import score_label_maps
from kneeformer.tasks.mri_reconstruction.evaluation import EVALUATION as RECONSTRUCTION_EVALUATION
from kneeformer.tasks.mri_reconstruction.prepare import prepare_truth
from kneeformer.tasks.mri_reconstruction.settings import ReconstructionConfiguration
from kneeformer.tasks.preparation import Preparation, prepare_image

if TYPE_CHECKING:
    from kneeformer.tasks.base import PredictiveTask, Task


@dataclass(frozen=True)
class Registered:
    """The parts of a task.

    Attributes:
        settings: class of its configurations.
        prepare: prepares a case for its networks.
        load: returns the task itself; imports torch.
        evaluation: of its predictions; None if it only trains weights for others.
        recommended: name of the configuration to begin with.
    """

    settings: type[Configuration]
    prepare: Preparation
    load: "Callable[[], Task[Any]]"
    evaluation: Evaluation | None = None
    recommended: str | None = None


def _segmentation() -> "Task[Any]":
    from kneeformer.tasks.segmentation.task import Segmentation

    return Segmentation()


def _masked_pretraining() -> "Task[Any]":
    from kneeformer.tasks.masked_pretraining.task import MaskedPretraining

    return MaskedPretraining()


def _bone_completion() -> "Task[Any]":
    from kneeformer.tasks.bone_completion.task import BoneCompletion

    return BoneCompletion()


def _bone_registration() -> "Task[Any]":
    from kneeformer.tasks.bone_completion.registration import BoneRegistration

    return BoneRegistration()


def _mri_reconstruction() -> "Task[Any]":
    from kneeformer.tasks.mri_reconstruction.task import Reconstruction

    return Reconstruction()


def _reconstruction_pretraining() -> "Task[Any]":
    from kneeformer.tasks.mri_reconstruction.pretraining import ReconstructionPretraining

    return ReconstructionPretraining()


_TASKS = {
    "segmentation": Registered(
        CropConfiguration,
        prepare_image,
        _segmentation,
        Evaluation(score_label_maps, LeadingScore(DICE)),
        recommended="3d_vit",
    ),
    "pretraining": Registered(CropConfiguration, prepare_image, _masked_pretraining, recommended="3d_mae"),
    "completion": Registered(
        BoneConfiguration, prepare_bone, _bone_completion, BONE_EVALUATION, recommended="3d_gp"
    ),
    "registration": Registered(BoneConfiguration, prepare_bone, _bone_registration),
    "reconstruction": Registered(
        ReconstructionConfiguration, prepare_truth, _mri_reconstruction, RECONSTRUCTION_EVALUATION
    ),
    "reconstruction_pretraining": Registered(
        ReconstructionConfiguration, prepare_truth, _reconstruction_pretraining
    ),
}


def register(name: str, task: Registered) -> None:
    """Add a task. Raises ValueError: there is one of that name."""
    if name in _TASKS:
        raise ValueError(f"there is a task {name!r} already")
    _TASKS[name] = task


def task_names() -> tuple[str, ...]:
    """Names of all registered tasks."""
    return tuple(_TASKS)


def registered(name: str) -> Registered:
    """The parts of a task. Raises KneeformerError: no such task."""
    if name not in _TASKS:
        raise KneeformerError(f"task {name!r:.80} is not one of {', '.join(_TASKS)}")
    return _TASKS[name]


@cache
def task_named(name: str) -> "Task[Any]":
    """The task itself. Raises KneeformerError: no such task."""
    return registered(name).load()


def tasks_for(name: str, labelled: bool) -> "list[Task[Any]]":
    """The task of a dataset and those that prepare for it; without labels, only those that need none."""
    tasks = [task_named(name), *(task_named(n) for n in task_named(name).prepared_by)]
    return [task for task in tasks if labelled or not task.needs_labels]


def evaluation_of(name: str) -> Evaluation:
    """The evaluation of a task's predictions. Raises KneeformerError: the task predicts no cases."""
    found = registered(name).evaluation
    if found is None:
        raise KneeformerError(f"task {name!r} prepares networks for others; there is nothing to evaluate")
    return found


def predictive(name: str) -> "PredictiveTask[Any]":
    """The task, if it predicts cases. Raises KneeformerError: it does not."""
    task = task_named(name)
    if not task.predicts:
        raise KneeformerError(f"task {name!r} prepares networks for others; it predicts nothing itself")
    return cast("PredictiveTask[Any]", task)
