"""Poses: similarity and affine transforms in millimetres, and resampling of volumes by them.

Points are (z, y, x) in mm from the middle of a grid with physical extent; a rotation is rigid whatever the
grid's shape, which a transform in the normalised coordinates of `affine_grid` is not. Poses are composed
and inverted in float64.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.networks.positions import points_from_middle


def _no_stretch() -> Tensor:
    return torch.eye(3, dtype=torch.float64)


@dataclass(frozen=True)
class Pose:
    """x -> scale * rotation @ stretch @ x + shift: an affine map without mirroring, in polar form.

    Attributes:
        rotation: (3, 3) float64, orthonormal.
        shift: (3,) float64, mm.
        scale: above zero.
        stretch: (3, 3) float64, symmetric and positive, of determinant 1; the identity in a similarity.
    """

    rotation: Tensor
    shift: Tensor
    scale: float
    stretch: Tensor = field(default_factory=_no_stretch)

    @classmethod
    def identity(cls) -> "Pose":
        return cls(torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64), 1.0)

    @classmethod
    def of(cls, linear: Tensor, shift: Tensor) -> "Pose":
        """The pose of a matrix (3, 3) with positive determinant and a shift, in float64."""
        linear, shift = linear.double().cpu(), shift.double().cpu()
        scale = float(torch.linalg.det(linear)) ** (1 / 3)
        u, strength, v = torch.linalg.svd(linear / scale)
        return cls(u @ v, shift, scale, v.T @ torch.diag(strength) @ v)

    @property
    def linear(self) -> Tensor:
        """(3, 3) float64: the map without its shift."""
        return self.scale * self.rotation @ self.stretch

    def matrix(self) -> Tensor:
        """(4, 4) float64."""
        whole = torch.eye(4, dtype=torch.float64)
        whole[:3, :3], whole[:3, 3] = self.linear, self.shift
        return whole

    def __call__(self, points: Tensor) -> Tensor:
        """(points, 3) mm to (points, 3) mm, in the dtype and on the device of the points."""
        return points @ self.linear.to(points).T + self.shift.to(points)

    def inverse(self) -> "Pose":
        back = torch.linalg.inv(self.linear)
        turned = self.rotation @ torch.linalg.inv(self.stretch) @ self.rotation.T
        return Pose(self.rotation.T, -(back @ self.shift), 1 / self.scale, turned)

    def after(self, first: "Pose") -> "Pose":
        """The pose that applies `first` and then this one."""
        return Pose.of(self.linear @ first.linear, self.linear @ first.shift + self.shift)


def rotation_matrix(vector: Tensor) -> Tensor:
    """(3,) axis times angle in radians -> (3, 3) float64, by the matrix exponential of Rodrigues."""
    a, b, c = vector.double().unbind()
    zero = torch.zeros_like(a)
    skew = torch.stack([torch.stack([zero, -c, b]), torch.stack([c, zero, -a]), torch.stack([-b, a, zero])])
    turn: Tensor = torch.linalg.matrix_exp(skew)
    return turn


def sample(volume: Tensor, points: Tensor, spacing: Spacing) -> Tensor:
    """(channels, points) values of (channels, z, y, x) at (points, 3) mm, linear, with repeated borders."""
    size = torch.tensor(volume.shape[1:], dtype=points.dtype, device=points.device)
    step = torch.tensor(spacing, dtype=points.dtype, device=points.device)
    normalised = (2 * points / (step * (size - 1).clamp(min=1))).flip(-1)
    grid = normalised[None, None, None]
    values: Tensor = F.grid_sample(volume[None], grid, padding_mode="border", align_corners=True)
    return values[0, :, 0, 0]


def warp(volume: Tensor, pose: Pose, grid: Size, spacing: Spacing) -> Tensor:
    """A bone's volume, resampled to the frame of its pose.

    Args:
        volume: (channels, z, y, x) of the bone; spacing is that of both grids.
        pose: from the bone to the frame.
        grid: of the result.

    Returns:
        (channels, *grid).
    """
    points = pose.inverse()(points_from_middle(grid, spacing, volume.device))
    return sample(volume, points, spacing).reshape(-1, *grid)
