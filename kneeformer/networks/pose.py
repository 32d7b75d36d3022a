"""Poses: similarity transforms in millimetres, and volumes seen through them.

Points are (z, y, x) in mm from the middle of a grid with physical extent; a rotation is rigid whatever the
grid's shape, which a transform in the normalised coordinates of `affine_grid` is not. Poses are composed
and inverted in float64.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

Spacing = tuple[float, float, float]
Size = tuple[int, int, int]


@dataclass(frozen=True)
class Pose:
    """x -> scale * rotation @ x + shift.

    Attributes:
        rotation: (3, 3) float64, orthonormal.
        shift: (3,) float64, mm.
        scale: above zero.
    """

    rotation: Tensor
    shift: Tensor
    scale: float

    @classmethod
    def identity(cls) -> "Pose":
        return cls(torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64), 1.0)

    def matrix(self) -> Tensor:
        """(4, 4) float64."""
        whole = torch.eye(4, dtype=torch.float64)
        whole[:3, :3], whole[:3, 3] = self.scale * self.rotation, self.shift
        return whole

    def __call__(self, points: Tensor) -> Tensor:
        """(points, 3) mm to (points, 3) mm, in the dtype and on the device of the points."""
        matrix = (self.scale * self.rotation).to(points)
        return points @ matrix.T + self.shift.to(points)

    def inverse(self) -> "Pose":
        back = self.rotation.T
        return Pose(back, -(back @ self.shift) / self.scale, 1 / self.scale)

    def after(self, first: "Pose") -> "Pose":
        """The pose that does `first`, then this one."""
        shift = self.scale * (self.rotation @ first.shift) + self.shift
        return Pose(self.rotation @ first.rotation, shift, self.scale * first.scale)


def rotation_matrix(vector: Tensor) -> Tensor:
    """(3,) axis times angle in radians -> (3, 3) float64, by the matrix exponential of Rodrigues."""
    a, b, c = vector.double().unbind()
    zero = torch.zeros_like(a)
    skew = torch.stack([torch.stack([zero, -c, b]), torch.stack([c, zero, -a]), torch.stack([-b, a, zero])])
    turn: Tensor = torch.linalg.matrix_exp(skew)
    return turn


def points_of(grid: Size, spacing: Spacing, device: torch.device | None = None) -> Tensor:
    """(voxels, 3) float32 mm from the middle of the grid to each voxel, in array order."""
    steps = [(torch.arange(n, device=device) - (n - 1) / 2) * s for n, s in zip(grid, spacing, strict=True)]
    return torch.stack(torch.meshgrid(*steps, indexing="ij"), -1).reshape(-1, 3)


def sample(volume: Tensor, points: Tensor, spacing: Spacing) -> Tensor:
    """Values of (channels, z, y, x) at (points, 3) mm, linearly: (channels, points). The border goes on."""
    size = torch.tensor(volume.shape[1:], dtype=points.dtype, device=points.device)
    step = torch.tensor(spacing, dtype=points.dtype, device=points.device)
    normalised = (2 * points / (step * (size - 1).clamp(min=1))).flip(-1)
    grid = normalised[None, None, None]
    values: Tensor = F.grid_sample(volume[None], grid, padding_mode="border", align_corners=True)
    return values[0, :, 0, 0]


def warp(volume: Tensor, pose: Pose, grid: Size, spacing: Spacing) -> Tensor:
    """A bone's volume seen in the frame that its pose leads to.

    Args:
        volume: (channels, z, y, x) of the bone; spacing is that of both grids.
        pose: from the bone to the frame.
        grid: of the result.

    Returns:
        (channels, *grid).
    """
    points = pose.inverse()(points_of(grid, spacing, volume.device))
    return sample(volume, points, spacing).reshape(-1, *grid)
