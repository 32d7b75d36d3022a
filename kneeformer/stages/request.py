"""One training as a user asks for it."""

from dataclasses import dataclass
from pathlib import Path

from kneeformer.errors import KneeformerError
from kneeformer.paths import Folders, fold_name
from kneeformer.plan import read_plan
from kneeformer.tasks import task_named


@dataclass(frozen=True)
class Request:
    """What to train and how; what is None is the plan's, or what the training began with.

    Attributes:
        no_pretraining: start from chance, whatever the plan's previous stage is.
        pretrained_weights: a checkpoint to start from, instead of the previous stage.
        pretrain_from: a second dataset whose images the stage without labels learns from as well.
        subjects: learn from so many labelled subjects of the fold, drawn by the seed; None is all.
    """

    dataset: str
    configuration: str
    fold: int | str
    plans: str = "kfPlans"
    epochs: int | None = None
    minutes: float | None = None
    seed: int | None = None
    device: str | None = None
    resume: bool = False
    overwrite: bool = False
    validate_only: bool = False
    no_pretraining: bool = False
    pretrained_weights: Path | None = None
    pretrain_from: str | None = None
    subjects: int | None = None
    settings: tuple[str, ...] = ()

    @property
    def assignments(self) -> list[str]:
        """What differs from the plan, as --set would say it."""
        return [*self.settings, *([] if self.epochs is None else [f"training.epochs={self.epochs}"])]

    @property
    def fold_name(self) -> str:
        return fold_name(self.fold)

    def folder(self, folders: Folders) -> Path:
        """Where the trained fold is kept."""
        return folders.model(self.dataset, self.configuration, self.plans) / self.fold_name


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
