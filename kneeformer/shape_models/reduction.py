"""Reduction of a bone fragment: the rigid motion that puts it back onto the surface of the whole bone.

Robust point-to-plane registration (Chen and Medioni 1992) of points on the fragment's surface to the zero of
the whole bone's signed distance d. With y = R (x - c) + c + t the points and n their normals, both moved,

    minimise  sum over x of  (f(n) rho(d(y)) + (1 - f(n)) w^2 + h(b(y))) / (2 e^2 v)  +  |p|^2 / 2

by Gauss-Newton steps. rho is Geman and McClure's, of width w, and f the squared cosine between n and the
slope of d: the fracture's surface lies inside the bone and faces another way, and costs the same wherever it
lies. b is how far a point sticks out of the bone or into what is kept of it, and h is Huber's cost. e is the
usual error, v the number of points that err alike, and p rotation and shift as shares of how far fragments
move: of places that are equally good the nearest is taken. Steps begin at rotations and shifts all around.
"""

import math
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from kneeformer.geometry.aliases import Spacing
from kneeformer.shape_models.pose import Pose, rotation_matrix
from kneeformer.shape_models.trilinear import Cells, by_voxel

_ERROR_MM, _CORRELATION_MM = 1.0, 14.0  # of the completed surface, and over which it errs alike
_ROBUST_MM, _COARSE = 1.0, 8.0  # width of the cost, and times it, to begin with
_TURN, _SHIFT_MM = math.radians(15), 8.0  # standard deviations of a fragment's motion
_TURNS, _SHIFTS_MM = math.radians(15), 6.0  # of the starts, about and along each axis
_POINTS_AT_FIRST = 250
_STEPS_AT_FIRST, _STEPS = 10, 25
_REFINED, _RIVAL_MISFIT, _APART_MM = (
    5,
    3.0,
    2.5,
)  # best starts; a rival is nearly as likely and lies elsewhere


@dataclass(frozen=True)
class FragmentSurface:
    """Points spread evenly over a fragment's surface.

    Attributes:
        points: (n, 3) float64 mm, around the fragment's own middle.
        normals: (n, 3) float64 of length one, outward.
        area_mm2: of the surface around each point.
    """

    points: Tensor
    normals: Tensor
    area_mm2: float

    def thinned(self, most: int) -> "FragmentSurface":
        """Every n-th point, so that they are `most` or fewer."""
        stride = -(-len(self.points) // most)
        return FragmentSurface(self.points[::stride], self.normals[::stride], self.area_mm2 * stride)


@dataclass(frozen=True)
class Target:
    """Signed distances in mm to which a fragment is registered, around it, on one grid.

    Attributes:
        bone: (z, y, x) float64, of the whole bone.
        kept: (z, y, x) float64, of the visible bone, where no fragment can be.
        middle: (3,) mm of the fragment from the middle of the grid.
    """

    bone: Tensor
    kept: Tensor
    spacing: Spacing
    middle: Tensor


@dataclass(frozen=True)
class Reduced:
    """A fragment, registered.

    Attributes:
        motion: from where it lies to there, of points around its own middle.
        residual_mm: root mean square distance to the bone's surface, of the points that lie on it; of all
            points where none does.
        on_surface_mm2: area of the fragment that lies on the bone's surface.
        deviation_mm: how far its points may lie from there, a standard deviation of the fit.
        rival_mm: how far from there it would lie in another pose that fits about as well; 0 without one.
    """

    motion: Pose
    residual_mm: float
    on_surface_mm2: float
    deviation_mm: float
    rival_mm: float


def reduce(fragment: FragmentSurface, target: Target) -> Reduced:
    """Find where a fragment belongs."""
    rough = _Problem(fragment.thinned(_POINTS_AT_FIRST), target)
    found = sorted(
        (rough.solve(start, _STEPS_AT_FIRST) for start in _starts()), key=lambda solution: solution[1]
    )
    fine = _Problem(fragment, target)
    apart: list[Pose] = []
    for motion, _ in found:
        if all(fine.between(motion, other) > _APART_MM for other in apart):
            apart.append(motion)
    solutions = sorted(
        (fine.solve(motion, _STEPS) for motion in apart[:_REFINED]), key=lambda solution: solution[1]
    )
    best, least = solutions[0]
    rivals = [fine.between(best, other) for other, misfit in solutions if misfit < least + _RIVAL_MISFIT]
    return fine.judged(best, max(far if far > _APART_MM else 0.0 for far in rivals))


def _starts() -> list[Pose]:
    turns = [torch.zeros(3), *torch.eye(3) * _TURNS, *torch.eye(3) * -_TURNS]
    shifts = [torch.zeros(3), *torch.eye(3) * _SHIFTS_MM, *torch.eye(3) * -_SHIFTS_MM]
    return [Pose(rotation_matrix(turn), shift.double(), 1.0) for turn, shift in product(turns, shifts)]


class _Problem:
    """The sum to minimise for one fragment and one target."""

    def __init__(self, fragment: FragmentSurface, target: "Target") -> None:
        self.fragment, self.target = fragment, target
        self.fields = by_voxel(torch.stack([target.bone, target.kept]))
        alike = max(1.0, _CORRELATION_MM**2 / fragment.area_mm2)
        self.certainty = 1 / (_ERROR_MM**2 * alike)
        self.precision = torch.tensor([_TURN**-2.0] * 3 + [_SHIFT_MM**-2.0] * 3, dtype=torch.float64)

    def solve(self, motion: Pose, steps: int) -> tuple[Pose, float]:
        """Motion and misfit, the sum that was minimised."""
        for step in range(steps):
            width = _ROBUST_MM * max(1.0, _COARSE * (1 - 1.5 * step / steps))
            normal, gradient = self._normal_equations(motion, width)
            change = -torch.linalg.solve(normal + 1e-3 * torch.diag(normal.diagonal()), gradient)
            motion = Pose(rotation_matrix(change[:3]) @ motion.rotation, motion.shift + change[3:], 1.0)
            if width == _ROBUST_MM and float(change.abs().max()) < 1e-4:
                break
        return motion, self.misfit(motion)

    def misfit(self, motion: Pose) -> float:
        """The sum that is minimised."""
        seen = self._seen(motion)
        surface = _ROBUST_MM**2 * (1 - seen.facing / (1 + (seen.away / _ROBUST_MM) ** 2))
        beyond = seen.beyond.clamp(min=0)
        sticking = torch.where(beyond < _ROBUST_MM, beyond**2, _ROBUST_MM * (2 * beyond - _ROBUST_MM))
        prior = (self.precision * _parameters(motion) ** 2).sum()
        return float(self.certainty * (surface + sticking).sum() + prior) / 2

    def between(self, one: Pose, other: Pose) -> float:
        """Root mean square distance in mm of the fragment's points in two poses."""
        points = self.fragment.points
        return float((one(points) - other(points)).square().sum(1).mean().sqrt())

    def judged(self, motion: Pose, rival_mm: float) -> Reduced:
        seen = self._seen(motion)
        lies = (seen.away.abs() < _ROBUST_MM) & (seen.facing > 0.5)
        normal, _ = self._normal_equations(motion, _ROBUST_MM)
        arm = seen.moved - motion.shift
        levers = torch.stack(
            [torch.linalg.cross(axis.expand_as(arm), arm) for axis in torch.eye(3).double()], 2
        )
        motions = torch.cat([levers, torch.eye(3).double().expand(len(arm), 3, 3)], 2)
        spread = torch.einsum("nik,kl,nil->n", motions, torch.linalg.inv(normal), motions)
        residual = float(seen.away[lies if lies.any() else lies.logical_not()].square().mean().sqrt())
        area = self.fragment.area_mm2 * float(lies.sum())
        return Reduced(motion, residual, area, float(spread.mean().sqrt()), rival_mm)

    def _normal_equations(self, motion: Pose, width: float) -> tuple[Tensor, Tensor]:
        """(6, 6) and (6,) in rotation vector and shift."""
        seen = self._seen(motion)
        on_surface = seen.facing / (1 + (seen.away / width) ** 2) ** 2
        sticking = (seen.beyond > 0) * (width / seen.beyond.clamp(min=1e-9)).clamp(max=1.0)
        normal, gradient = torch.diag(self.precision), self.precision * _parameters(motion)
        for away, slope, weight in (
            (seen.away, seen.slope, on_surface),
            (seen.beyond, seen.slope_beyond, sticking),
        ):
            jacobian = torch.cat([torch.linalg.cross(seen.moved - motion.shift, slope), slope], 1)
            weighted = self.certainty * weight[:, None] * jacobian
            normal, gradient = normal + weighted.T @ jacobian, gradient + weighted.T @ away
        return normal, gradient

    def _seen(self, motion: Pose) -> "_Seen":
        moved = motion(self.fragment.points)
        z, y, x = self.target.bone.shape
        cells = Cells.around(moved + self.target.middle, (z, y, x), self.target.spacing)
        corners = self.fields[cells.voxels]
        away, slope = cells.value_and_slope(corners[..., 0])
        to_kept, slope_of_kept = cells.value_and_slope(corners[..., 1])
        normals = self.fragment.normals @ motion.rotation.T
        facing = ((normals * slope).sum(1) / slope.norm(dim=1).clamp(min=1e-9)).clamp(min=0) ** 2
        outside = away > -to_kept
        beyond = torch.where(outside, away, -to_kept)
        return _Seen(moved, away, slope, facing, beyond, torch.where(outside[:, None], slope, -slope_of_kept))


@dataclass(frozen=True)
class _Seen:
    """The fields of a target at the points of a fragment.

    Attributes:
        moved: (n, 3) mm.
        away: (n,) mm, signed distance to the bone, and its slope (n, 3).
        facing: (n,) in [0, 1], how well the fragment's surface faces as the bone's does.
        beyond: (n,) mm, how far a point sticks out of the bone or into what is kept of it, and its slope.
    """

    moved: Tensor
    away: Tensor
    slope: Tensor
    facing: Tensor
    beyond: Tensor
    slope_beyond: Tensor


def _parameters(motion: Pose) -> Tensor:
    """(6,) sine of the angle times axis, and shift."""
    odd = (motion.rotation - motion.rotation.T) / 2
    return torch.cat([torch.stack([odd[2, 1], odd[0, 2], odd[1, 0]]), motion.shift])
