"""Flags of a training that contradict each other."""

from kneeformer.errors import KneeformerError
from kneeformer.paths import Folders
from kneeformer.plan import read_plan
from kneeformer.stages.request import Request
from kneeformer.tasks import task_named


def refuse_ignored(folders: Folders, request: Request) -> None:
    """Raises KneeformerError: --pretrain_from beside a flag that does without the stage it is meant for."""
    without = "--no_pretraining" if request.no_pretraining else "-pretrained_weights"
    if request.pretrain_from is None or not (request.no_pretraining or request.pretrained_weights):
        return
    plan = read_plan(folders.plan_file(request.dataset, request.plans))
    if task_named(plan.configuration(request.configuration).task).needs_labels:
        raise KneeformerError(
            f"--pretrain_from and {without} exclude each other: {request.pretrain_from} would be learnt from "
            f"in the stage before {request.configuration}, and {without} leaves that stage out"
        )
