"""The request for one training. Needs no torch."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from kneeformer.paths import Folders, fold_name


@dataclass(frozen=True)
class Request:
    """Request for a training; None takes the plan's value, or that of the training to resume.

    Attributes:
        no_pretraining: start from random initialisation, even if the plan has a previous stage.
        no_unlabelled: learn from labels alone, even if the plan has a teacher.
        pretrained_weights: a checkpoint to start from, instead of the previous stage.
        pretrain_from: a second dataset whose images the pre-training learns from as well.
        tensorboard: also write losses and scores for TensorBoard.
        num_gpus: processes that train together.
        subjects: number of labelled subjects to learn from, drawn by the seed; None takes all of the fold.
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
    no_unlabelled: bool = False
    pretrained_weights: Path | None = None
    pretrain_from: str | None = None
    subjects: int | None = None
    tensorboard: bool = False
    num_gpus: int = 1
    settings: tuple[str, ...] = ()

    @property
    def assignments(self) -> list[str]:
        """Return the differences from the plan, as key=value."""
        epochs = [] if self.epochs is None else [f"training.epochs={self.epochs}"]
        return [*self.settings, *epochs, *(["teacher=null"] if self.no_unlabelled else [])]

    @property
    def ends_by_epochs(self) -> bool:
        """True where the epochs end the training: with `minutes`, only if they are requested too."""
        return self.minutes is None or any(a.startswith("training.epochs=") for a in self.assignments)

    @property
    def fold_name(self) -> str:
        return fold_name(self.fold)

    def folder(self, folders: Folders) -> Path:
        """Return the folder of the trained fold."""
        return folders.model(self.dataset, self.configuration, self.plans) / self.fold_name

    def command(self, *flags: str) -> str:
        """Return the command for this training, with other flags where given."""
        words = (self.dataset, self.configuration, self.fold_name, "-p", self.plans, *flags)
        return shlex.join(("kf_train", *words))
