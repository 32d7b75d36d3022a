"""A bone as a Gaussian process around the mean bone, with a covariance from the training bones.

Principal components of n bones span n - 1 directions, and no new bone lies in their span. If covariances are
trusted only locally, the same bones span many more: with m_k the components and d the distance of two voxels,

    K(x, y) = (1 + r(d; locality)) / 2  sum_k m_k(x) m_k(y)  +  e^2 r(d; correlation)  +  sum_j p_j(x) p_j(y)

Half of the covariance holds over the whole bone, and half within the locality (localised models: Wilms et al.
2017; bones as Gaussian processes: Lüthi et al. 2018). e is the error that the components leave, and p_j is
the effect of one standard deviation of the motion that may be missing from the pose, so that pose and shape
have a joint posterior. r is Matern's correlation with exponent 3/2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kneeformer.geometry.aliases import Spacing
from kneeformer.networks.positions import points_from_middle
from kneeformer.shape_models.kriging import (
    Blocks,
    Regression,
    even_voxels_beside,
    interpolate_odd_voxels,
    matern,
)
from kneeformer.shape_models.priors import Guess, Pca
from kneeformer.shape_models.registration import DISTANCE, Motion
from kneeformer.shape_models.residual_kriging import NUGGET, SURFACE_MM, beside_hidden

_BAND = 1.5  # voxels from the surface within which supports lie
_NEAR, _FAR = 1600, 700  # largest numbers of blocks of supports, beside the hidden part and elsewhere


class GaussianProcess(Pca):
    """A prior whose guess is the posterior of the components; `corrected` conditions the whole process."""

    def corrected(self, guess: Guess, image: Tensor, known: Tensor, motion: Motion) -> Guess:
        near = beside_hidden(known, self.spacing, self.settings.correlation_mm)
        at_surface = known & (image[DISTANCE].abs() < _BAND * max(self.spacing))
        blocks = [Blocks.of(at_surface & near, _NEAR), Blocks.of(at_surface & ~near, _FAR)]
        hidden = ~known & (guess.image[DISTANCE].abs() < 2 * SURFACE_MM)
        queries = torch.nonzero(hidden.flatten())[:, 0]
        assert guess.deviation_mm is not None
        whole, deviation = guess.image.clone(), guess.deviation_mm.clone()
        count = sum(map(len, blocks))
        if count and len(queries):
            points = points_from_middle(self.grid, self.spacing, image.device)
            moved = motion_modes(guess.image[DISTANCE], points, self.spacing)
            expected = self.mean[DISTANCE].flatten() + motion.mean.to(moved) @ moved
            away = image[DISTANCE].flatten() - expected
            seen = torch.cat([b.means(away[None])[0] for b in blocks])
            covariance = self._covariance(blocks, points, motion.deviation.to(moved)[:, None] * moved)
            supports = torch.arange(count, device=image.device)
            noise = NUGGET * float(self.noise_mm) ** 2
            regression = Regression(seen, supports, covariance, noise)
            whole[DISTANCE].view(-1)[queries] = expected[queries] + regression.mean(count + queries)
            even = even_voxels_beside(hidden)
            deviation.view(-1)[even] = regression.variance(count + even).sqrt()
            deviation = interpolate_odd_voxels(deviation)
        whole[DISTANCE] = torch.where(known, image[DISTANCE], whole[DISTANCE])
        return Guess(whole, torch.where(known, 0, deviation))

    def _covariance(self, blocks: Sequence[Blocks], points: Tensor, pose_errors: Tensor) -> "_OfBones":
        """The covariance of the means of blocks followed by all voxels of the grid."""

        def places(values: Tensor) -> Tensor:
            return torch.cat([*(b.means(values) for b in blocks), values], 1)

        return _OfBones(
            places(points.T).T,
            places(self.modes[:, DISTANCE].flatten(1)),
            places(pose_errors),
            float(self.noise_mm),
            self.settings.locality_mm,
            self.settings.correlation_mm,
        )


@dataclass(frozen=True)
class _OfBones:
    """`kriging.Covariance` in mm2; the place of a block is the mean of its voxels."""

    points: Tensor
    modes: Tensor
    pose_errors: Tensor
    noise_mm: float
    locality_mm: float
    correlation_mm: float

    def between(self, first: Tensor, second: Tensor) -> Tensor:
        apart = torch.cdist(self.points[first], self.points[second])
        alike = self.modes[:, first].T @ (self.modes[:, second] / 2)
        covariance = matern(apart, self.locality_mm).add_(1).mul_(alike)  # in place: it stays in the cache
        covariance.add_(matern(apart, self.correlation_mm), alpha=self.noise_mm**2)
        return covariance.addmm_(self.pose_errors[:, first].T, self.pose_errors[:, second])

    def variance(self, voxels: Tensor) -> Tensor:
        alone = self.modes[:, voxels].square().sum(0) + self.pose_errors[:, voxels].square().sum(0)
        return alone + self.noise_mm**2


def motion_modes(distance: Tensor, points: Tensor, spacing: Spacing) -> Tensor:
    """(7, voxels) mm: derivatives of a shape's signed distances (z, y, x) with respect to a `Motion`.

    These are per mm along each axis, per radian about each axis, and per unit of log scale.
    """
    slope = torch.stack(torch.gradient(distance, spacing=list(spacing))).flatten(1)
    axes = torch.eye(3, dtype=points.dtype, device=points.device)
    turns = [(slope.T * torch.linalg.cross(axis.expand_as(points), points)).sum(1) for axis in axes]
    grown = (slope.T * points).sum(1) - distance.flatten()
    return torch.stack([*slope, *turns, grown])
