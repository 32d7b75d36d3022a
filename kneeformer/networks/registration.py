"""Registration of a bone to a prototype: the pose in which their signed distances agree.

The tibia paper's direct registration (its equation 1) descends the gradient of an image similarity, as
`descent` does. On signed distances the same problem is a small least-squares problem, and Gauss-Newton
steps solve it in a second: with d the bone's distances, P the prototype's and y = s R x + t,

    minimise  sum over known x near the bone's surface of  rho(P(y) - s d(x)) / (2 e^2 v)  +  |p|^2 / 2

where rho is Geman and McClure's, for which what does not belong (a fracture, a cut shaft) hardly counts, e
the usual error, v the number of neighbouring voxels that err alike, and p rotation and log scale as shares
of how much they vary among the bones: what little is visible leaves open, they decide. An affine
registration has a symmetric stretch U of determinant 1 beside the rotation, y = s R U x + t; its logarithm
is in p as well.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kneeformer.networks.descent import descend
from kneeformer.networks.locnet import LocNet, as_pose, matrices
from kneeformer.networks.pose import Pose, Size, Spacing, points_of, rotation_matrix, sample, warp
from kneeformer.plan import RegistrationSettings

CT, DISTANCE = 0, 1  # channels of a bone's image
_POINTS = 20_000
_ERROR_MM = 1.5  # of a bone's surface on another bone's
_COARSE = 8.0  # times the robust distance, to begin with
_SIMILARITY = 7  # numbers of a pose without a stretch
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
_LARGEST = 1.5  # scale, and its inverse the smallest: a point fits every surface


@dataclass(frozen=True)
class Fit:
    """How a bone lies on the prototype.

    Attributes:
        pose: from the bone's grid to the prototype's.
        residual_mm: median distance between the two surfaces, in mm of the prototype's frame.
        inliers: share of the visible surface that lies within the robust distance.
    """

    pose: Pose
    residual_mm: float
    inliers: float


class Registration(nn.Module):
    """A prototype, and what brings bones to it.

    Attributes:
        prototype: (2, z, y, x) float32: CT in [0, 1] and signed distance in mm.
        spread: (3,) standard deviations over the bones: of rotations about an axis, in radians, of the
            logarithm of the scale, and of a stretch's.
    """

    prototype: nn.Parameter
    spread: Tensor

    def __init__(self, grid: Size, spacing: Spacing, settings: RegistrationSettings) -> None:
        super().__init__()
        self.grid, self.spacing, self.settings = grid, spacing, settings
        self.prototype = nn.Parameter(torch.zeros(2, *grid), requires_grad=False)
        self.register_buffer("spread", torch.tensor([0.3, 0.1, 0.1]))
        self.locnet = None if settings.locnet is None else LocNet(grid, settings.locnet)

    @torch.no_grad()
    def forward(
        self, image: Tensor, known: Tensor, start: Pose | None = None, target: Tensor | None = None
    ) -> Fit:
        """Register one bone.

        Args:
            image: (2, z, y, x) as `preprocessing.bone.Bone` has it.
            known: (z, y, x) bool; what is not known does not count.
            start: where to go on; None begins where the localisation network says or, without one, with the
                bone's middle on the prototype's, and takes the descent's steps of all rounds.
            target: (z, y, x) signed distance in mm to register to; None is the prototype's.
        """
        bone = _Surface.of(image[DISTANCE], known, self.grid, self.spacing, self.settings.band_mm)
        field = _with_gradient(self.prototype[DISTANCE] if target is None else target, self.spacing)
        pose, robust = start or first_guess(self.locnet, image, known), self.settings.robust_mm
        if self.settings.descent is not None and target is None:
            pose = self._descended(image, known, pose, 1 if start else self.settings.rounds)
        for step in range(self.settings.steps):
            width = robust * max(1.0, _COARSE * (1 - 2 * step / self.settings.steps))
            pose, change = self._step(field, bone, pose, width)
            if change < 1e-4 and width == robust:
                break
        return self._judged(field, bone, pose)

    def _step(self, field: Tensor, bone: "_Surface", pose: Pose, robust_mm: float) -> tuple[Pose, float]:
        """One step of Gauss and Newton: the new pose, and by how many mm a point 50 mm off moved at most."""
        free = _SIMILARITY + (len(_STRETCHES) if self.settings.affine else 0)
        normal, gradient = _normal_equations(field, bone, pose, self.spacing, robust_mm)
        alike = max(1.0, self.settings.correlation_mm**3 / math.prod(self.spacing)) / bone.stride
        precision = self._precision()
        normal = normal / (_ERROR_MM**2 * alike) + torch.diag(precision)
        gradient = gradient / (_ERROR_MM**2 * alike) + precision * _deviation(pose)
        damped = normal + 1e-3 * torch.diag(normal.diagonal()) + 1e-6 * torch.eye(len(normal))
        step = torch.zeros_like(gradient)
        step[:free] = -torch.linalg.solve(damped[:free, :free], gradient[:free])
        scale = min(max(pose.scale * float(step[6].exp()), 1 / _LARGEST), _LARGEST)
        turn, stretch = rotation_matrix(step[:3]), torch.linalg.matrix_exp(_symmetric(step[_SIMILARITY:]))
        shape = (
            turn @ stretch @ pose.rotation @ pose.stretch if self.settings.affine else turn @ pose.rotation
        )
        changed = Pose.of(scale * shape, pose.shift + step[3:6])
        arm = torch.cat([50 * step[:3], step[3:6], 50 * step[6:]])
        return changed, float(arm.abs().max())

    def _precision(self) -> Tensor:
        """(12,) float64: how little rotation, scale and stretch vary; a shift may be any."""
        turn, scale, stretch = (1 / self.spread.double().cpu() ** 2).tolist()
        return torch.tensor([turn] * 3 + [0.0] * 3 + [scale] + [stretch] * 5, dtype=torch.float64)

    def _descended(self, image: Tensor, known: Tensor, pose: Pose, rounds: int) -> Pose:
        assert self.settings.descent is not None
        rate, steps = self.settings.descent.learning_rate, rounds * self.settings.descent.steps
        seen = torch.where(known, image[CT], 0.0)
        return descend(self.prototype[CT], seen, ~known, self.spacing, pose, rate, steps)

    def registered(self, image: Tensor, pose: Pose) -> Tensor:
        """A bone's (2, z, y, x) in the prototype's frame; distances are mm there."""
        seen = warp(image, pose, self.grid, self.spacing)
        seen[DISTANCE] *= pose.scale
        return seen

    def _judged(self, field: Tensor, bone: "_Surface", pose: Pose) -> Fit:
        near = bone.distance.abs() < max(self.spacing)
        away = (
            sample(field[:1], pose(bone.points[near]), self.spacing)[0] - pose.scale * bone.distance[near]
        ).abs()
        return Fit(pose, float(away.median()), float((away < self.settings.robust_mm).float().mean()))


def first_guess(locnet: LocNet | None, image: Tensor, known: Tensor) -> Pose:
    """The pose of a bone by a localisation network; the identity where there is none."""
    if locnet is None:
        return Pose.identity()
    return as_pose(matrices(locnet(image[None], known[None]))[0])


@dataclass(frozen=True)
class _Surface:
    """Known voxels near a bone's surface, one of `stride`: points (n, 3) mm and signed distances (n,)."""

    points: Tensor
    distance: Tensor
    stride: int

    @classmethod
    def of(cls, distance: Tensor, known: Tensor, grid: Size, spacing: Spacing, band_mm: float) -> "_Surface":
        chosen = torch.nonzero((known & (distance.abs() < band_mm)).flatten())[:, 0]
        stride = max(1, len(chosen) // _POINTS)
        chosen = chosen[::stride]
        return cls(points_of(grid, spacing, distance.device)[chosen], distance.flatten()[chosen], stride)


def _with_gradient(field: Tensor, spacing: Spacing) -> Tensor:
    """(z, y, x) mm -> (4, z, y, x): the field and its slope along each axis."""
    return torch.stack([field, *torch.gradient(field, spacing=list(spacing))])


def _normal_equations(
    field: Tensor, bone: _Surface, pose: Pose, spacing: Spacing, robust_mm: float
) -> tuple[Tensor, Tensor]:
    """(12, 12) and (12,) float64 of a least-squares step in rotation vector, shift, log scale and stretch."""
    moved = pose(bone.points)
    seen = sample(field, moved, spacing).double()
    residual = seen[0] - pose.scale * bone.distance.double()
    weight = 1 / (1 + (residual / robust_mm) ** 2) ** 2
    arm, slope = moved.double() - pose.shift.to(moved.device), seen[1:].T
    scaling = (arm * slope).sum(1, keepdim=True) - pose.scale * bone.distance.double()[:, None]
    stretching = torch.einsum("ni,kij,nj->nk", slope, _STRETCHES.to(slope), arm)
    jacobian = torch.cat([torch.linalg.cross(arm, slope), slope, scaling, stretching], 1)
    weighted = jacobian * weight[:, None]
    return (weighted.T @ jacobian).cpu(), (weighted.T @ residual).cpu()


def _deviation(pose: Pose) -> Tensor:
    """(12,) float64, how far a pose is from the identity: sine of the angle times axis, shift, log scale, log
    stretch.
    """
    odd = (pose.rotation - pose.rotation.T) / 2
    turn = torch.stack([odd[2, 1], odd[0, 2], odd[1, 0]])
    scale = torch.tensor([math.log(pose.scale)], dtype=torch.float64)
    stretch = torch.einsum("kij,ij->k", _STRETCHES, log_stretch(pose)) / 2
    return torch.cat([turn, pose.shift, scale, stretch])


def log_stretch(pose: Pose) -> Tensor:
    """(3, 3) float64, symmetric, of trace 0: logarithm of a pose's stretch, in the frame that it leads to."""
    values, vectors = torch.linalg.eigh(pose.stretch)
    axes = pose.rotation @ vectors
    logarithm: Tensor = axes @ torch.diag(values.log()) @ axes.T
    return logarithm


def spread_of(poses: list[Pose]) -> Tensor:
    """(3,) float32: `Registration.spread` of these poses, never less than a degree and two per cent."""
    away = torch.stack([_deviation(pose) for pose in poses])
    parts = (away[:, :3], away[:, 6], away[:, _SIMILARITY:])
    return torch.stack([part.square().mean().sqrt().clamp(min=0.02) for part in parts]).float()


def _symmetric(numbers: Tensor) -> Tensor:
    """(5,) -> (3, 3) symmetric of trace 0."""
    return torch.einsum("k,kij->ij", numbers, _STRETCHES)
