"""A teacher in the loop: now and then, the averaged network labels images that have no labels."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from torch import nn
from torch.utils.data import Dataset

from kneeformer.engine.batch import Batch
from kneeformer.paths import PSEUDO_LABELS


@dataclass(frozen=True)
class Labelling:
    """Figures of pseudo-labels for the log, and the fault for which none are used."""

    figures: dict[str, float] = field(default_factory=dict)
    fault: str | None = None


class Teacher(Protocol):
    """Labels images for a training, which then learns from these labels as well.

    Attributes:
        rounds: parts of the training after which it labels, ascending.
    """

    @property
    def rounds(self) -> Sequence[float]: ...

    def label(self, average: nn.Module, folder: Path) -> Labelling:
        """Label images into a folder, anew; it is there once all are. The same network gives the same labels.

        Args:
            average: the averaged network, in evaluation mode.
        """

    def batches(self, folder: Path) -> Dataset[Batch]:
        """Batches to learn from, by the number of the step, with the labels in the folder."""


def rounds_due(rounds: Sequence[float], share: float) -> int:
    """Count the rounds of labelling that belong to a training of which this share is done."""
    return sum(share >= due for due in rounds) if share < 1 else 0


def round_folder(training: Path, number: int) -> Path:
    """Folder of the labels of a round, from 1, in that of the training."""
    return training / PSEUDO_LABELS / f"round_{number}"
