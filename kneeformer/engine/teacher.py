"""A teacher in the loop: the averaged network labels images without labels, after a burn-in with labels."""

from dataclasses import dataclass, field
from typing import Protocol

from torch import nn

from kneeformer.config import TeacherSettings
from kneeformer.engine.batch import Batch


@dataclass(frozen=True)
class Examination:
    """Figures of pseudo-labels for the log, and the fault for which they are not used."""

    figures: dict[str, float] = field(default_factory=dict)
    fault: str | None = None


class Teacher(Protocol):
    """Examples for the student, out of batches that have images with and without labels."""

    @property
    def settings(self) -> TeacherSettings: ...

    def examples(self, average: nn.Module, batch: Batch, weight: float) -> Batch:
        """Return the batch to learn from.

        Args:
            average: the averaged network, in evaluation mode, which labels.
            batch: as the task draws it, on the network's device.
            weight: of the loss of pseudo-labels; 0 learns from labels alone.
        """

    def examine(self, average: nn.Module) -> Examination:
        """Compare the pseudo-labels of a few images, always the same, with labels."""


def is_ready(settings: TeacherSettings, share: float, score: float) -> bool:
    """True where the burn-in is over: after its share of the training, once the network is good enough.

    Args:
        share: of the training that is done.
        score: mean validation score.
    """
    enough = share >= settings.burn_in and score >= settings.ready_at
    return enough or share >= settings.longest_burn_in


def pseudo_weight(settings: TeacherSettings, share: float, since: float | None) -> float:
    """Weight of the pseudo-labels' loss: 0 in the burn-in, then a linear ramp.

    Args:
        share: of the training that is done.
        since: share at which the burn-in ended; None while it lasts.
    """
    if since is None:
        return 0.0
    ramp = (share - since) / settings.ramp if settings.ramp else 1.0
    return settings.weight * min(1.0, max(0.0, ramp))
