"""The pose of a bone together with its shape in a family, by least squares on signed distances.

With d the bone's distances, y = s R x + t its points moved, and F_a = F + sum a_k M_k the distances of a
shape of the family,

    minimise  sum over known x near the bone's surface of  rho(F_a(y) - s d(x)) / (2 e^2 v)
              +  |p|^2 / 2  +  |a|^2 / 2

by Gauss-Newton steps. rho is Geman and McClure's cost, in which surfaces that do not belong (a fracture, a
cut shaft) hardly count; e is the usual error, v the number of neighbouring voxels with a common error, and p
are rotation and log scale relative to their variation among the bones, which decide where little is visible.
An affine registration has a symmetric stretch U of determinant 1 beside the rotation, y = s R U x + t; its
logarithm is in p as well.

Pose and shape are found together, as in active shape models (Cootes et al. 1995), because they depend on each
other: found one after the other, a shaft would slide along that of the mean bone until its end no longer
counts.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.networks.positions import points_from_middle
from kneeformer.shape_models.pose import Pose, rotation_matrix
from kneeformer.shape_models.settings import RegistrationSettings
from kneeformer.shape_models.trilinear import Cells, by_voxel

_ERROR_MM = 1.5  # of a bone's surface on another bone's
_COARSE = 8.0  # times the robust distance, at first
_STILL_MM = 1e-3  # a step that moves points by less is the last
_SIMILARITY = 7  # parameters of a pose without a stretch
_STRETCHES = (
    torch.tensor(  # of one log stretch each: a basis of symmetric matrices of trace 0, each of norm sqrt 2
        [
            [[1, 0, 0], [0, -1, 0], [0, 0, 0]],
            [[3**-0.5, 0, 0], [0, 3**-0.5, 0], [0, 0, -2 * 3**-0.5]],
            [[0, 1, 0], [1, 0, 0], [0, 0, 0]],
            [[0, 0, 1], [0, 0, 0], [1, 0, 0]],
            [[0, 0, 0], [0, 0, 1], [0, 1, 0]],
        ],
        dtype=torch.float64,
    )
)
_LARGEST = 1.5  # largest scale, its inverse the smallest: a shrunken bone fits every surface


@dataclass(frozen=True)
class Family:
    """Shapes on one grid, as signed distances in mm.

    Attributes:
        distance: (z, y, x) of the mean shape.
        modes: (k, z, y, x) of variation, each one standard deviation long.
        error_mm: error of the nearest shape on a new bone's surface.
    """

    distance: Tensor
    modes: Tensor
    error_mm: float

    @classmethod
    def of_one(cls, distance: Tensor) -> "Family":
        """The family of a single shape, (z, y, x) signed distances in mm, without modes."""
        return cls(distance, distance.new_zeros(0, *distance.shape), _ERROR_MM)

    @property
    def grid(self) -> Size:
        """Voxels along (z, y, x)."""
        z, y, x = self.distance.shape
        return z, y, x

    @cached_property
    def by_voxel(self) -> Tensor:
        """(voxels, 1 + k): distances of the mean shape, and modes."""
        return by_voxel(torch.cat([self.distance[None], self.modes]))


@dataclass(frozen=True)
class Surface:
    """Known voxels near a bone's surface, one of `stride`: points (n, 3) mm and signed distances (n,)."""

    points: Tensor
    distance: Tensor
    stride: int

    @classmethod
    def of(cls, distance: Tensor, known: Tensor, grid: Size, spacing: Spacing, band_mm: float) -> "Surface":
        """The known voxels within `band_mm` of the surface; distance (z, y, x) mm, known (z, y, x) bool."""
        chosen = torch.nonzero((known & (distance.abs() < band_mm)).flatten())[:, 0]
        return cls(points_from_middle(grid, spacing, distance.device)[chosen], distance.flatten()[chosen], 1)

    def thinned(self, most: int) -> "Surface":
        """About as many points, or up to twice as many."""
        stride = max(1, len(self.distance) // most)
        return Surface(self.points[::stride], self.distance[::stride], self.stride * stride)


@dataclass(frozen=True)
class Solution:
    """Pose of a bone, scores (k,) of its shape, and the minimised sum, the misfit."""

    pose: Pose
    scores: Tensor
    misfit: float


class LeastSquares:
    """The problem of one bone and one family.

    Args:
        spread: (3,) standard deviations over the bones: of rotations about an axis in radians, of log scale
            and of log stretch.
        usual_scale: around which scales vary.
    """

    def __init__(
        self,
        family: Family,
        surface: Surface,
        spacing: Spacing,
        settings: RegistrationSettings,
        spread: Tensor,
        usual_scale: float = 1.0,
    ) -> None:
        self.usual_scale = usual_scale
        self.family, self.surface, self.spacing, self.settings = family, surface, spacing, settings
        self.robust_mm = settings.robust_mm * max(1.0, family.error_mm / _ERROR_MM)
        alike = max(1.0, settings.correlation_mm**3 / math.prod(spacing)) / surface.stride
        self.certainty = 1 / (family.error_mm**2 * alike)
        self.stretches = _STRETCHES if settings.affine else _STRETCHES[:0]
        self.scores_from = _SIMILARITY + len(self.stretches)
        turn, scale, stretch = (1 / spread.double().cpu() ** 2).tolist()
        pose = [turn] * 3 + [0.0] * 3 + [scale] + [stretch] * len(self.stretches)  # shifts are free
        self.precision = torch.tensor(pose + [1.0] * len(family.modes), dtype=torch.float64)

    def solve(self, pose: Pose, scores: Tensor | None = None) -> Solution:
        """Minimise from a pose and the mean shape, with wide costs first and the robust distance at last.

        Args:
            scores: (k,) of a shape that is about right; then the robust distance counts from the start.
        """
        wide = 1.0 if scores is not None else _COARSE
        scores = torch.zeros(len(self.family.modes), dtype=torch.float64) if scores is None else scores
        for step in range(self.settings.steps):
            width = self.robust_mm * max(1.0, wide * (1 - 2 * step / self.settings.steps))
            pose, scores, change = self._step(pose, scores, width)
            if change < _STILL_MM and width == self.robust_mm:
                break
        return Solution(pose, scores, self._misfit(pose, scores))

    def _step(self, pose: Pose, scores: Tensor, robust_mm: float) -> tuple[Pose, Tensor, float]:
        """The new pose and scores, and the largest motion in mm of a point 50 mm off."""
        normal, gradient = self._normal_equations(pose, scores, robust_mm)
        normal = self.certainty * normal + torch.diag(self.precision)
        gradient = self.certainty * gradient + self.precision * self._away(pose, scores)
        damped = normal + 1e-3 * torch.diag(normal.diagonal()) + 1e-6 * torch.eye(len(normal))
        step = -torch.linalg.solve(damped, gradient)
        scale = min(max(pose.scale * float(step[6].exp()), 1 / _LARGEST), _LARGEST)
        shape = rotation_matrix(step[:3]) @ pose.rotation
        if self.settings.affine:
            stretch = torch.linalg.matrix_exp(_symmetric(step[_SIMILARITY : self.scores_from]))
            shape = rotation_matrix(step[:3]) @ stretch @ pose.rotation @ pose.stretch
        arm = torch.cat([50 * step[:3], step[3:6], 50 * step[6 : self.scores_from]])
        moved = Pose.of(scale * shape, pose.shift + step[3:6])
        return moved, scores + step[self.scores_from :], float(arm.abs().max())

    def _normal_equations(self, pose: Pose, scores: Tensor, robust_mm: float) -> tuple[Tensor, Tensor]:
        """(n, n) and (n,) float64 in rotation vector, shift, log scale, log stretch and scores."""
        moved = pose(self.surface.points)
        seen, slope, modes = self._seen(moved, scores)
        residual = self._residual(seen, pose)
        weight = 1 / (1 + (residual / robust_mm) ** 2) ** 2
        arm = moved - pose.shift.to(moved)
        scaling = (arm * slope).sum(1) - pose.scale * self.surface.distance
        stretching = torch.einsum("ni,kij,nj->nk", slope, self.stretches.to(slope), arm)
        jacobian = torch.cat([torch.linalg.cross(arm, slope), slope, scaling[:, None], stretching, modes], 1)
        weighted = jacobian * weight[:, None]
        return (weighted.T @ jacobian).double().cpu(), (weighted.T @ residual).double().cpu()

    def _seen(self, points: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Distance (n,) of a shape, its slope (n, 3) and the modes (n, k) at points."""
        cells = Cells.around(points, self.family.grid, self.spacing)
        table = self.family.by_voxel
        shape = cells.corners(table) @ torch.cat([scores.new_ones(1), scores]).to(table)
        return *cells.value_and_slope(shape), cells.values(table)[:, 1:]

    def _misfit(self, pose: Pose, scores: Tensor) -> float:
        residual = self._residual(self._seen(pose(self.surface.points), scores)[0], pose).double()
        squared = residual**2 / (1 + (residual / self.robust_mm) ** 2)
        prior = (self.precision * self._away(pose, scores) ** 2).sum()
        return float(self.certainty * squared.sum() + prior) / 2

    def _residual(self, seen: Tensor, pose: Pose) -> Tensor:
        return seen - pose.scale * self.surface.distance

    def _away(self, pose: Pose, scores: Tensor) -> Tensor:
        away = _deviation(pose, self.stretches)
        away[6] -= math.log(self.usual_scale)
        return torch.cat([away, scores])


def spread_of(poses: list[Pose]) -> Tensor:
    """(3,) float32: `spread` of these poses, at least one degree and two per cent."""
    away = torch.stack([_deviation(pose, _STRETCHES) for pose in poses])
    parts = (away[:, :3], away[:, 6], away[:, _SIMILARITY:])
    return torch.stack([part.square().mean().sqrt().clamp(min=0.02) for part in parts]).float()


def log_stretch(pose: Pose) -> Tensor:
    """(3, 3) float64, symmetric, trace 0: logarithm of a pose's stretch, in its target frame."""
    values, vectors = torch.linalg.eigh(pose.stretch)
    axes = pose.rotation @ vectors
    logarithm: Tensor = axes @ torch.diag(values.log()) @ axes.T
    return logarithm


def _deviation(pose: Pose, stretches: Tensor) -> Tensor:
    """(7 + k,) float64 deviation of a pose from the identity: sine of angle times axis, shift, log scale and
    log stretch.

    Args:
        stretches: (k, 3, 3), `_STRETCHES` or none of them.
    """
    odd = (pose.rotation - pose.rotation.T) / 2
    similarity = torch.tensor(
        [odd[2, 1], odd[0, 2], odd[1, 0], *pose.shift, math.log(pose.scale)], dtype=torch.float64
    )
    if not len(stretches):
        return similarity
    return torch.cat([similarity, torch.einsum("kij,ij->k", stretches, log_stretch(pose)) / 2])


def _symmetric(numbers: Tensor) -> Tensor:
    """(5,) -> (3, 3) symmetric of trace 0."""
    return torch.einsum("k,kij->ij", numbers, _STRETCHES)
