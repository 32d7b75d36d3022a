"""Registration of a bone to a prototype: the pose in which their signed distances agree.

The tibia paper's direct registration (its equation 1) is gradient descent on an image similarity, as in
`descent`. On signed distances it becomes a small problem of `least_squares`, solved in a second.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.networks.positions import points_from_middle
from kneeformer.shape_models.gradient_descent import descend
from kneeformer.shape_models.least_squares import Family, LeastSquares, Solution, Surface
from kneeformer.shape_models.locnet import LocNet, as_pose, matrices
from kneeformer.shape_models.pose import Pose, sample
from kneeformer.shape_models.rotations import ALIKE, angle_between, promising
from kneeformer.shape_models.settings import RegistrationSettings

CT, DISTANCE = 0, 1  # channels of a bone's image
_POINTS, _POINTS_OF_FAMILY = 5_000, 4_000
_POINTS_TO_COMPARE, _POINTS_OF_ROTATION = 500, 400
_STEPS_AT_FIRST = 12  # enough to find the best of several starts
_ABOUT_AS_WELL, _EXACT, _MOST = 1.25, 0.1, 4  # times the misfit of the best orientation, and more; number
_ANY_SHIFT_MM = 10.0
_STARTS = (0.0, -0.12, 0.12, -0.24, 0.24)  # of the longest side of the grid; of equals the first is taken
_SETTLED = 2  # rounds: more bring poses of a bone in two orientations no closer


@dataclass(frozen=True)
class Fit:
    """Registration of a bone to the prototype.

    Attributes:
        pose: from the bone's grid to the prototype's.
        residual_mm: median distance between the two surfaces, in mm of the prototype's frame.
        inliers: share of the visible surface that lies within the robust distance.
    """

    pose: Pose
    residual_mm: float
    inliers: float


Carry = Callable[[Pose], tuple[Tensor, Tensor]]  # to image (2, z, y, x) and known (z, y, x)


@dataclass(frozen=True)
class Motion:
    """A small motion of a shape, Gaussian: shift along (z, y, x) in mm, rotation about each, log scale.

    Attributes:
        mean, deviation: (7,).
    """

    mean: Tensor
    deviation: Tensor


class Registration(nn.Module):
    """A prototype, and the registration of bones to it.

    Attributes:
        prototype: (2, z, y, x) float32: CT in [0, 1] and signed distance in mm.
        spread: (3,) standard deviations over the bones: of rotations about an axis in radians, of log scale
            and of log stretch.
        usual_scale: around which scales vary.
    """

    prototype: nn.Parameter
    spread: Tensor

    def __init__(self, grid: Size, spacing: Spacing, settings: RegistrationSettings) -> None:
        super().__init__()
        self.grid, self.spacing, self.settings = grid, spacing, settings
        self.prototype = nn.Parameter(torch.zeros(2, *grid), requires_grad=False)
        self.register_buffer("spread", torch.tensor([0.3, 0.1, 0.1]))
        self.usual_scale = 1.0
        self.locnet = None if settings.locnet is None else LocNet(grid, settings.locnet)

    @torch.no_grad()
    def forward(
        self,
        image: Tensor,
        known: Tensor,
        start: Pose | None = None,
        near: bool = False,
        points: int = _POINTS,
    ) -> Fit:
        """Register one bone to the prototype.

        Args:
            image: (2, z, y, x) CT in [0, 1] and signed distance in mm, on the grid of the prototype.
            known: (z, y, x) bool; unknown voxels do not count.
            start: initial pose; None takes that of the localisation network or, without one, puts the bone's
                middle on the prototype's, and makes the descent's steps of all rounds.
            near: whether the start is about right, so that the robust distance counts from the start.
            points: number of points of the surface to use.
        """
        surface = self._surface(image, known)
        pose = start or first_guess(self.locnet, image, known)
        if self.settings.descent is not None:
            pose = self._descended(image, known, pose, 1 if start else self.settings.rounds)
        prototype = Family.of_one(self.prototype[DISTANCE])
        problem = self._problem(prototype, surface.thinned(points))
        return self._judged(surface, problem.solve(pose, torch.zeros(0) if near else None).pose)

    @torch.no_grad()
    def among(self, image: Tensor, known: Tensor, start: Pose, family: Family, carry: Carry) -> Pose:
        """Find the pose of a bone among the shapes of a family; image and known as in `forward`.

        Shifts along the grid's longest side are tried with few points first: half a shaft fits anywhere along
        the mean bone's, and only its end shows where it belongs. The best pose is then refined so that it
        does not depend on the bone's orientation in the scan: the bone is resampled at the voxels of the
        prototype, and all rotations are equally likely. Without steps the pose is kept.

        Args:
            carry: resamples the bone onto the prototype's grid by a pose, with distances in mm there.
        """
        if not self.settings.steps:
            return start
        extents = [n * mm for n, mm in zip(self.grid, self.spacing, strict=True)]
        along = torch.eye(3, dtype=torch.float64)[extents.index(max(extents))] * max(extents)
        surface = self._surface(image, known).thinned(_POINTS_TO_COMPARE)
        rough = self._problem(family, surface, self._rough())
        tried = [rough.solve(Pose.of(start.linear, start.shift + share * along)) for share in _STARTS]
        found = min(tried, key=lambda solution: solution.misfit)
        for _ in range(_SETTLED):
            there = self._surface(*carry(found.pose)).thinned(_POINTS_OF_FAMILY)
            points, scale = found.pose.inverse()(there.points), found.pose.scale
            surface = Surface(points, there.distance / scale, there.stride)
            found = self._any_way(family, surface, self.settings).solve(found.pose, found.scores)
        return found.pose

    @torch.no_grad()
    def orientations(
        self, image: Tensor, known: Tensor, spacing: Spacing, family: Family | None
    ) -> list[Solution]:
        """Possible poses of a bone in any orientation, best first, no two of similar rotation.

        All rotations are tried on the prototype. Those that fit about equally well are compared among the
        shapes of the family, which a bone in a wrong orientation does not fit.

        Args:
            image, known: as in `forward`, on a grid of any size with this spacing.

        Returns:
            At least one; others only if they fit about as well. Without steps it is the identity.
        """
        z, y, x = known.shape
        if not self.settings.steps:
            return [Solution(Pose.identity(), torch.zeros(0), 0.0)]
        surface = Surface.of(image[DISTANCE], known, (z, y, x), spacing, self.settings.band_mm)

        def problem(family: Family, points: int) -> LeastSquares:
            return self._any_way(family, surface.thinned(points), self._rough())

        on_prototype = problem(Family.of_one(self.prototype[DISTANCE]), _POINTS_OF_ROTATION)
        found = _apart([on_prototype.solve(start) for start in promising(on_prototype)])
        if family is None:
            return found
        among = problem(family, _POINTS_TO_COMPARE)
        return _apart([among.solve(solution.pose) for solution in found])

    def motion_left(self, pose: Pose) -> "Motion":
        """The motion that may be missing from a pose: towards the usual scale, with any shift.

        The size of its rotation follows from the rotations of the bones. Its direction is free, since it
        would depend on the bone's orientation in the scan.
        """
        none, (turn, scale, _) = torch.zeros(3), self.spread.cpu()
        growth = torch.tensor([math.log(self.usual_scale / pose.scale)])
        return Motion(
            torch.cat([none, none, growth]),
            torch.cat([none + _ANY_SHIFT_MM, turn.repeat(3), scale[None]]),
        )

    def expect_scale(self, of_other_side: float, correlation: float) -> None:
        """Let a bone's scale vary around that of the same person's other side, by `both_sides`."""
        self.usual_scale = of_other_side**correlation
        self.spread[1] *= (1 - correlation**2) ** 0.5

    def registered(self, image: Tensor, pose: Pose) -> Tensor:
        """A bone (2, z, y, x) in the prototype's frame, with distances in mm there."""
        points = pose.inverse()(points_from_middle(self.grid, self.spacing, image.device))
        seen = read_bone(image, points, self.spacing).reshape(2, *self.grid)
        seen[DISTANCE] *= pose.scale
        return seen

    def _rough(self) -> RegistrationSettings:
        """Solve with few points and steps, to compare starts."""
        steps = min(self.settings.steps, _STEPS_AT_FIRST)
        return self.settings.model_copy(update={"steps": steps, "affine": False})

    def _problem(
        self, family: Family, surface: Surface, settings: RegistrationSettings | None = None
    ) -> LeastSquares:
        return LeastSquares(
            family, surface, self.spacing, settings or self.settings, self.spread, self.usual_scale
        )

    def _any_way(self, family: Family, surface: Surface, settings: RegistrationSettings) -> LeastSquares:
        """The problem for a bone in any orientation."""
        spread = torch.cat([self.spread.new_full((1,), torch.inf), self.spread[1:]])
        return LeastSquares(family, surface, self.spacing, settings, spread, self.usual_scale)

    def _surface(self, image: Tensor, known: Tensor) -> Surface:
        return Surface.of(image[DISTANCE], known, self.grid, self.spacing, self.settings.band_mm)

    def _descended(self, image: Tensor, known: Tensor, pose: Pose, rounds: int) -> Pose:
        assert self.settings.descent is not None
        rate, steps = self.settings.descent.learning_rate, rounds * self.settings.descent.steps
        seen = torch.where(known, image[CT], 0.0)
        return descend(self.prototype[CT], seen, ~known, self.spacing, pose, rate, steps)

    def _judged(self, surface: Surface, pose: Pose) -> Fit:
        near = surface.distance.abs() < max(self.spacing)
        seen = sample(self.prototype[[DISTANCE]], pose(surface.points[near]), self.spacing)[0]
        away = (seen - pose.scale * surface.distance[near]).abs()
        return Fit(pose, float(away.median()), float((away < self.settings.robust_mm).float().mean()))


def read_bone(image: Tensor, points: Tensor, spacing: Spacing) -> Tensor:
    """(2, points) of a bone's (2, z, y, x) at (points, 3) mm; beyond its grid no CT, and distances grow.

    Where a bone leaves its grid it ends there, and does not go on as wide as its last voxels.
    """
    seen = sample(image, points, spacing)
    half = (points.new_tensor(image.shape[1:]) - 1) / 2 * points.new_tensor(spacing)
    beyond = (points.abs() - half).clamp(min=0).norm(dim=1)
    seen[CT] *= (1 - beyond / min(spacing)).clamp(min=0)
    seen[DISTANCE] += beyond
    return seen


def _apart(solutions: list[Solution]) -> list[Solution]:
    """The best solution, then those that fit about as well; among similar ones only the best."""
    chosen: list[Solution] = []
    for solution in sorted(solutions, key=lambda solution: solution.misfit):
        best = (chosen or [solution])[0].misfit
        if solution.misfit > _ABOUT_AS_WELL * best + _EXACT or len(chosen) == _MOST:
            break
        if all(angle_between(solution.pose.rotation, other.pose.rotation) > ALIKE for other in chosen):
            chosen.append(solution)
    return chosen


def first_guess(locnet: LocNet | None, image: Tensor, known: Tensor) -> Pose:
    """The pose of a bone, image (2, z, y, x) and known (z, y, x) bool, by a localisation network.

    Without a network it is the identity.
    """
    if locnet is None:
        return Pose.identity()
    return as_pose(matrices(locnet(image[None], known[None]))[0])
