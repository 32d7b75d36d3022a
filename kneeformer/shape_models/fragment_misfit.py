"""Misfit of a displaced fragment on the bone that it broke off, and its normal equations.

With y = R (x - c) + c + t the points of its surface and n their normals, both moved, it is

    1 / (2 v)  sum over x of  [f(n) rho(d(y)) + (1 - f(n)) w^2 + h(b(y))] / e^2
                            + [g(n) rho(k(y)) + (1 - g(n)) w^2] / e_k^2           +  |p|^2 / 2

d is the signed distance to the whole bone, and k that to the bone in place: bone that has not moved, and
repositioned fragments. rho is Geman and McClure's cost of width w. f is the squared cosine between n and the
slope of d: the fracture face lies inside the bone, faces another way, and costs the same anywhere. g is that
between n and the direction to the bone in place, because the two faces of a fracture meet. b is how far a
point sticks out of the whole bone or into the bone in place, and h is Huber's cost. e and e_k are the usual
errors, v is the number of points with a common error, and p are rotation and shift relative to the usual
motion of fragments: among equally good positions the nearest is taken.

Where a fragment touches the bone in place before it is moved, g is 0: the border that a mask draws there fits
by construction and would hold the fragment in place.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from kneeformer.geometry.aliases import Spacing
from kneeformer.shape_models.pose import Pose
from kneeformer.shape_models.trilinear import Cells, by_voxel

ROBUST_MM = 1.0  # width of the costs
_ERROR_MM = 1.0  # of the completed surface
_CORRELATION_MM = 14.0  # over which points have a common error
_FACES_WIDTH = 0.4  # factor on wide costs for faces: parallel faces are close to each other
_TOUCHING_MM = 1.0
_TURN, _SHIFT_MM = math.radians(15), 8.0  # standard deviations of a fragment's motion


@dataclass(frozen=True)
class FragmentSurface:
    """Points spread evenly over a fragment's surface.

    Attributes:
        points: (n, 3) float64 mm, around the fragment's own middle.
        normals: (n, 3) float64 outward unit normals.
        area_mm2: area of the surface per point.
    """

    points: Tensor
    normals: Tensor
    area_mm2: float

    def thinned(self, most: int) -> "FragmentSurface":
        """Every n-th point, at most `most`."""
        stride = -(-len(self.points) // most)
        return FragmentSurface(self.points[::stride], self.normals[::stride], self.area_mm2 * stride)


@dataclass(frozen=True)
class Target:
    """Signed distances in mm around a fragment, to which it is registered, on one grid.

    Attributes:
        bone: (z, y, x) float64, to the whole bone.
        in_place: (z, y, x) float64, to bone in place, which fragments meet but do not enter.
        middle: (3,) mm from the middle of the grid to that of the fragment.
    """

    bone: Tensor
    in_place: Tensor
    spacing: Spacing
    middle: Tensor


@dataclass(frozen=True)
class Seen:
    """The fields of a target at the moved points of a fragment.

    Attributes:
        arm: (n, 3) mm, around the fragment's middle.
        away: (n,) mm, signed distance to the whole bone, and its slope (n, 3).
        facing: (n,) in [0, 1], agreement of the fragment's normal with that of the whole bone.
        gap: (n,) mm, signed distance to the bone in place, and its slope.
        opposing: (n,) in [0, 1], how directly the fragment's surface faces that of the bone in place.
    """

    arm: Tensor
    away: Tensor
    slope: Tensor
    facing: Tensor
    gap: Tensor
    slope_of_gap: Tensor
    opposing: Tensor


@dataclass(frozen=True)
class _Residuals:
    """Residuals of the points in mm (n,), their slopes (n, 3), costs and weights of least squares (n,)."""

    residual: Tensor
    slope: Tensor
    cost: Tensor
    weight: Tensor


class FragmentMisfit:
    """The misfit of one fragment on one target.

    Args:
        faces_mm: error between two faces of a fracture, e_k.
    """

    def __init__(self, fragment: FragmentSurface, target: Target, faces_mm: float) -> None:
        self.fragment, self.target = fragment, target
        self.fields = by_voxel(torch.stack([target.bone, target.in_place]))
        alike = max(1.0, _CORRELATION_MM**2 / fragment.area_mm2)
        self.certainty = 1 / (_ERROR_MM**2 * alike)
        self.of_faces = _ERROR_MM**2 / faces_mm**2
        self.precision = torch.tensor([_TURN**-2.0] * 3 + [_SHIFT_MM**-2.0] * 3, dtype=torch.float64)
        self.apart = self.seen(Pose.identity()).gap.abs() > _TOUCHING_MM

    def __call__(self, motion: Pose) -> float:
        """The misfit of a motion."""
        costs = sum(float(term.cost.sum()) for term in self._terms(self.seen(motion), ROBUST_MM))
        return (self.certainty * costs + float((self.precision * _parameters(motion) ** 2).sum())) / 2

    def normal_equations(self, motion: Pose, width: float) -> tuple[Tensor, Tensor]:
        """(6, 6) and (6,) in rotation vector and shift, with robust costs of a width in mm."""
        seen = self.seen(motion)
        normal, gradient = torch.diag(self.precision), self.precision * _parameters(motion)
        for term in self._terms(seen, width):
            jacobian = torch.cat([torch.linalg.cross(seen.arm, term.slope), term.slope], 1)
            weighted = self.certainty * term.weight[:, None] * jacobian
            normal, gradient = normal + weighted.T @ jacobian, gradient + weighted.T @ term.residual
        return normal, gradient

    def seen(self, motion: Pose) -> Seen:
        """The target at the moved points of the fragment."""
        moved = motion(self.fragment.points)
        z, y, x = self.target.bone.shape
        cells = Cells.around(moved + self.target.middle, (z, y, x), self.target.spacing)
        corners = cells.corners(self.fields)
        away, slope = cells.value_and_slope(corners[..., 0])
        gap, slope_of_gap = cells.value_and_slope(corners[..., 1])
        normals = self.fragment.normals @ motion.rotation.T
        return Seen(
            moved - motion.shift,
            away,
            slope,
            _squared_cosine(normals, slope),
            gap,
            slope_of_gap,
            _squared_cosine(-normals, slope_of_gap),
        )

    def _terms(self, seen: Seen, width: float) -> Iterator[_Residuals]:
        yield _robust(seen.away, seen.slope, seen.facing, width)
        faces = self.of_faces * seen.opposing * self.apart
        yield _robust(seen.gap, seen.slope_of_gap, faces, max(ROBUST_MM, _FACES_WIDTH * width))
        outside = seen.away > -seen.gap
        beyond = torch.where(outside, seen.away, -seen.gap)
        yield _one_sided(beyond, torch.where(outside[:, None], seen.slope, -seen.slope_of_gap), width)


def _robust(residual: Tensor, slope: Tensor, share: Tensor, width: float) -> _Residuals:
    """Geman and McClure's cost, weighted by a share of each point, plus its maximum for the rest."""
    near = 1 / (1 + (residual / width) ** 2)
    return _Residuals(residual, slope, width**2 * (1 - share * near), share * near**2)


def _one_sided(residual: Tensor, slope: Tensor, width: float) -> _Residuals:
    """Huber's cost of positive values."""
    above = residual.clamp(min=0)
    cost = torch.where(above < width, above**2, width * (2 * above - width))
    weight = (above > 0) * (width / above.clamp(min=1e-9)).clamp(max=1.0)
    return _Residuals(residual, slope, cost, weight)


def _squared_cosine(normals: Tensor, slope: Tensor) -> Tensor:
    """(n,) in [0, 1]; 0 where the two face opposite ways."""
    cosine: Tensor = (normals * slope).sum(1) / slope.norm(dim=1).clamp(min=1e-9)
    return cosine.clamp(min=0).square()


def _parameters(motion: Pose) -> Tensor:
    """(6,) sine of the angle times axis, and shift."""
    odd = (motion.rotation - motion.rotation.T) / 2
    return torch.cat([torch.stack([odd[2, 1], odd[0, 2], odd[1, 0]]), motion.shift])
