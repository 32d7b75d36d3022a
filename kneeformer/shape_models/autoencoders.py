"""Trained priors: autoencoders that predict a whole bone from a part of it.

The tibia paper trains them to be robust to masks (its equation 5): with x a bone, m its visible part, E and D
encoder and decoder,

    minimise  | x - D(E(m x)) |^2  +  terms of the code

and, where everything is visible, its equation 3. Networks work on deviations from the mean bone and begin
as the mean: their last layer begins at zero.
"""

from abc import abstractmethod

import torch
from torch import Tensor

from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.shape_models.priors import ShapePrior
from kneeformer.shape_models.registration import DISTANCE
from kneeformer.shape_models.settings import PriorSettings

REDUCTION = 8  # voxels along an axis that share a code; sides of grids are multiples of it
CLIP_MM = 20.0  # larger distances are clipped
NEAR_MM, FAR_WEIGHT = 10.0, 0.1  # voxels farther from the true surface count little
ALIKE_MM = 10.0  # a distance error of 10 mm counts as much as a CT error of 1
_FOLLOWED = 0.02  # weight of a step's error in the usual error


class Autoencoder(ShapePrior):
    """A prior that predicts a whole bone from its known part, trained by steps.

    Args:
        grid: multiples of 8.

    Attributes:
        spread_mm: (), spread of distances near the mean surface, the network's unit.
    """

    spread_mm: Tensor

    def __init__(self, grid: Size, spacing: Spacing, settings: PriorSettings) -> None:
        super().__init__(grid, spacing, settings)
        self.register_buffer("spread_mm", torch.ones(()))

    @torch.no_grad()
    def fit(self, bones: Tensor) -> None:
        """Set the mean of bones (bones, 2, z, y, x) and the spread of distances near its surface.

        It is called once, before the first step.
        """
        bones = clipped(bones)
        self.mean.copy_(bones.mean(0))
        self.spread_mm.copy_((bones - self.mean)[:, DISTANCE, self._telling()].std())
        self.noise_mm.copy_(self.spread_mm)

    def loss(self, bones: Tensor, known: Tensor) -> Tensor:
        """Scalar: the error of whole bones (equation 5) plus the cost of the code.

        It also tracks the usual error, `noise_mm`, on training bones, which is slightly too small.

        Args:
            bones: (batch, 2, z, y, x).
            known: (batch, z, y, x) bool; nothing else is shown to the encoder.
        """
        found, cost = self.autoencoded(bones, known)
        if self.training:
            self._follow_error(found.detach(), bones)
        return completion_error(found, bones, self.spread_mm) + cost

    @torch.no_grad()
    def _follow_error(self, found: Tensor, bones: Tensor) -> None:
        at_surface = bones[:, DISTANCE].abs() < max(self.spacing)
        if at_surface.any():
            error = (found - bones)[:, DISTANCE][at_surface].square().mean().sqrt()
            self.noise_mm.lerp_(error.to(self.noise_mm.dtype), _FOLLOWED)

    @abstractmethod
    def autoencoded(self, bones: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Whole bones (batch, 2, z, y, x) from the known part, and the cost of their code; for training."""

    def shown(self, bones: Tensor, known: Tensor) -> Tensor:
        """(batch, 3, z, y, x): deviations from the mean, 0 where unknown, and the mask of known voxels."""
        away = torch.where(known[:, None], (clipped(bones) - self.mean) / self._unit(), 0)
        return torch.cat([away, known[:, None].to(away.dtype)], 1)

    def as_bones(self, away: Tensor) -> Tensor:
        """(batch, 2, z, y, x) bones with distances in mm: the mean plus the deviations of a network."""
        return self.mean + away.float() * self._unit()

    def _unit(self) -> Tensor:
        """(2, 1, 1, 1): the network's units."""
        return unit(self.spread_mm)


def clipped(bones: Tensor) -> Tensor:
    """(batch, 2, z, y, x) bones with distances clipped to 20 mm."""
    ct, distance = bones.unbind(1)
    return torch.stack([ct, distance.clamp(-CLIP_MM, CLIP_MM)], 1)


def unit(spread_mm: Tensor) -> Tensor:
    """(2, 1, 1, 1): usual deviation of bones from their mean, in CT and in mm."""
    return (spread_mm / torch.tensor([ALIKE_MM, 1.0], device=spread_mm.device)).view(2, 1, 1, 1)


def completion_error(found: Tensor, bones: Tensor, spread_mm: Tensor) -> Tensor:
    """Scalar: squared error of CT and of distances clipped to 20 mm, in `unit`; a weighted mean.

    Voxels within 10 mm of the true surface weigh 1, others 0.1; 1 mm at the surface counts as much as 0.1 in
    CT. Only the truth is clipped: a clipped prediction would have no gradient.

    Args:
        found, bones: (batch, 2, z, y, x); distances in mm.
    """
    weight = torch.where(bones[:, DISTANCE].abs() < NEAR_MM, 1.0, FAR_WEIGHT)
    squared = ((found - clipped(bones)) / unit(spread_mm)).square().sum(1)
    return (weight * squared).sum() / weight.sum()
