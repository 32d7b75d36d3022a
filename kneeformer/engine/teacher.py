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
    """Figures of pseudo-labels for the log, and the fault if none are used."""

    figures: dict[str, float] = field(default_factory=dict)
    fault: str | None = None


class Teacher(Protocol):
    """Labels images for a training, which then learns from these labels as well.

    Attributes:
        rounds: shares of the training after which it labels, ascending.
    """

    @property
    def rounds(self) -> Sequence[float]: ...

    def label(self, average: nn.Module, folder: Path) -> Labelling:
        """Label images into a new folder, which appears when all are labelled. Same network, same labels.

        Args:
            average: the averaged network, in evaluation mode.
        """

    def batches(self, folder: Path) -> Dataset[Batch]:
        """Training batches with the labels in the folder, by the number of the step."""


def rounds_due(rounds: Sequence[float], share: float) -> int:
    """Number of rounds of labelling that are due when this share of the training is done."""
    return sum(share >= due for due in rounds) if share < 1 else 0


def round_folder(training: Path, number: int) -> Path:
    """Folder of the labels of a round, counted from 1, in the training's folder."""
    return training / PSEUDO_LABELS / f"round_{number}"
