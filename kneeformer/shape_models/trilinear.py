"""Trilinear interpolation of many volumes at the same points, with slopes.

The eight voxels around a point, and their weights, are the same in all volumes. With the values of a voxel
contiguous in memory, twenty volumes cost little more than one, and `index_select` reads them several times as
fast as indexing in brackets.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from kneeformer.geometry.aliases import Size, Spacing

_CORNERS = ((0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1), (1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1))


@dataclass(frozen=True)
class Cells:
    """The eight voxels around each point; a point outside the grid takes the nearest one inside.

    Attributes:
        voxels: (n, 8) int64, of the flattened grid, in the order of binary numbers zyx.
        upper: (n, 3) in [0, 1], weight of the upper voxels along (z, y, x).
    """

    voxels: Tensor
    upper: Tensor
    spacing: Spacing

    @classmethod
    def around(cls, points: Tensor, grid: Size, spacing: Spacing) -> "Cells":
        """The cells of (n, 3) mm from the middle of a grid with at least two voxels along each axis."""
        last = points.new_tensor(grid) - 1
        place = torch.minimum((points / points.new_tensor(spacing) + last / 2).clamp(min=0), last)
        low = torch.minimum(place.floor(), last - 1)
        strides = torch.tensor([grid[1] * grid[2], grid[2], 1], device=points.device)
        corners = (torch.tensor(_CORNERS, device=points.device) * strides).sum(1)
        return cls((low.long() * strides).sum(1, keepdim=True) + corners, place - low, spacing)

    def corners(self, table: Tensor) -> Tensor:
        """(n, 8, channels) rows of a table (voxels, channels) from `by_voxel`."""
        return table.index_select(0, self.voxels.flatten()).view(len(self.voxels), 8, table.shape[1])

    def values(self, table: Tensor) -> Tensor:
        """(n, channels) values at the points, from a table (voxels, channels) of `by_voxel`."""
        upper, lower = self.upper.T, 1 - self.upper.T
        sides = torch.stack([lower, upper])  # (2, 3, n)
        weights = [sides[k, 0] * sides[j, 1] * sides[i, 2] for k, j, i in _CORNERS]
        return F.embedding_bag(self.voxels, table, per_sample_weights=torch.stack(weights, 1), mode="sum")

    def value_and_slope(self, corners: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 8) values of the voxels -> (n,) values and (n, 3) derivatives along (z, y, x), per mm."""
        z, y, x = self.upper.T
        cube = corners.reshape(-1, 2, 2, 2)
        across_z = cube[:, 0].lerp(cube[:, 1], z[:, None, None])  # (n, 2, 2) along y and x
        across_y = across_z[:, 0].lerp(across_z[:, 1], y[:, None])
        along_z = cube[:, 1] - cube[:, 0]
        along_z = along_z[:, 0].lerp(along_z[:, 1], y[:, None])
        along_y = across_z[:, 1] - across_z[:, 0]
        slope = [along_z[:, 0].lerp(along_z[:, 1], x), along_y[:, 0].lerp(along_y[:, 1], x)]
        slope.append(across_y[:, 1] - across_y[:, 0])
        value = across_y[:, 0].lerp(across_y[:, 1], x)
        return value, torch.stack(slope, 1) / corners.new_tensor(self.spacing)


def by_voxel(volumes: Tensor) -> Tensor:
    """(channels, z, y, x) -> (voxels, channels), contiguous: `Cells.voxels` are its rows."""
    return volumes.flatten(1).T.contiguous()
