"""Flags of a training that contradict each other."""

from kneeformer.errors import KneeformerError
from kneeformer.paths import Folders
from kneeformer.plans import read_dataset_plan
from kneeformer.tasks.registry import task_named
from kneeformer.workflows.request import Request


def refuse_contradictions(folders: Folders, request: Request) -> None:
    """Refuse a flag that another one would make useless.

    Raises:
        KneeformerError: --c beside --overwrite; --no_pretraining beside -pretrained_weights; or
            --pretrain_from beside one of them, which do without the stage that it is meant for.
    """
    if request.resume and request.overwrite:
        raise KneeformerError(
            "--c and --overwrite exclude each other: the first resumes a stopped training, the second "
            "starts a new one; omit one"
        )
    if request.no_pretraining and request.pretrained_weights:
        raise KneeformerError(
            f"--no_pretraining and -pretrained_weights exclude each other: the first starts from random "
            f"initialisation, the second from {request.pretrained_weights}; omit one"
        )
    without = "--no_pretraining" if request.no_pretraining else "-pretrained_weights"
    if request.pretrain_from is None or not (request.no_pretraining or request.pretrained_weights):
        return
    plan = read_dataset_plan(folders, request.dataset, request.plans)
    if task_named(plan.configuration(request.configuration).task).needs_labels:
        raise KneeformerError(
            f"--pretrain_from and {without} exclude each other: {request.pretrain_from} is an input "
            f"of the previous stage {request.configuration}, and {without} omits that stage"
        )
