"""A training: its network, objective, batches, length and folder."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from kneeformer.config import TrainingSettings
from kneeformer.engine.batch import Batch
from kneeformer.engine.teacher import Teacher


@dataclass(frozen=True)
class Validation:
    """Mean loss, named scores in [0, 1] whose mean chooses the best checkpoint, and figures only logged."""

    loss: float
    scores: dict[str, float]
    figures: dict[str, float] = field(default_factory=dict)


class Objective(Protocol):
    """Loss and scores of a training: the only part of the loop that differs between tasks."""

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return the scalar loss, shape (), of a batch on the network's device."""

    def validate(self, network: nn.Module, batches: Iterable[Batch]) -> Validation:
        """Return loss and scores over the validation batches, each used once."""


@dataclass(frozen=True)
class TrainingRun:
    """One training: network, objective, batches, length, and folder.

    Attributes:
        training: batch of each step, by number.
        validation: the same few batches every epoch.
        minutes: end by the clock, validation crops included; None sets no limit of time.
        ends_by_epochs: end after `settings.epochs`, if the clock has not ended it before.
        workers: processes that prepare batches; 0 prepares them in this one.
        pretrained: names of pre-trained parameters; they follow `settings.fine_tuning`.
        teacher: labels images without labels now and then; batches come from it afterwards.
        keep_seconds: also write the latest checkpoint at this interval within an epoch.
    """

    network: nn.Module
    objective: Objective
    training: Dataset[Batch]
    validation: Dataset[Batch]
    settings: TrainingSettings
    folder: Path
    device: torch.device
    seed: int
    minutes: float | None = None
    ends_by_epochs: bool = True
    workers: int = 0
    pretrained: frozenset[str] = frozenset()
    teacher: Teacher | None = None
    keep_seconds: float = 120.0
