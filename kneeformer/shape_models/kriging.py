"""Gaussian process regression (kriging; Rasmussen and Williams 2006, chapter 2) from voxel to voxel.

Voxels that are seen are far too many for a dense system. They are averaged over cubes of the grid, so that
all of them count: with some picked out instead, the answer depends on which these are.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

_AT_ONCE = 512  # queries: their covariances with the supports stay in the cache


class Covariance(Protocol):
    """Of a process with mean 0; voxels are given by their indices in the flattened grid."""

    def between(self, first: Tensor, second: Tensor) -> Tensor:
        """(n,) and (m,) voxels -> (n, m)."""

    def variance(self, voxels: Tensor) -> Tensor:
        """(n,) voxels -> (n,), the diagonal of `between`."""


class Regression:
    """A process, given what is seen of it at some voxels.

    Args:
        values: (supports,) of the process, each with an error of its own.
        supports: voxels.
        noise: variance of those errors.
    """

    def __init__(self, values: Tensor, supports: Tensor, covariance: Covariance, noise: float) -> None:
        self.supports, self.covariance = supports, covariance
        among = covariance.between(supports, supports).double()
        among.diagonal().add_(noise)
        factor = torch.linalg.cholesky(among)
        self.weights = torch.cholesky_solve(values[:, None].double(), factor)[:, 0].to(values)
        self.factor = factor.to(values)

    def mean(self, queries: Tensor) -> Tensor:
        """(n,) voxels -> (n,)."""
        chunks = torch.split(queries, _AT_ONCE)
        return torch.cat([self.covariance.between(chunk, self.supports) @ self.weights for chunk in chunks])

    def variance(self, queries: Tensor) -> Tensor:
        """(n,) voxels -> (n,), each as costly as many means: `interpolate_odd_voxels` spares most of them."""
        return torch.cat([self._remaining(chunk) for chunk in torch.split(queries, _AT_ONCE)])

    def _remaining(self, queries: Tensor) -> Tensor:
        cross = self.covariance.between(self.supports, queries)
        explained = torch.linalg.solve_triangular(self.factor, cross, upper=False).square().sum(0)
        left: Tensor = self.covariance.variance(queries) - explained
        return left.clamp(min=0)


def even_voxels_beside(where: Tensor) -> Tensor:
    """(n,) voxels of a grid, of even place along each axis, in or beside the voxels where (z, y, x) bool."""
    beside = F.max_pool3d(where[None].float(), 3, stride=2, padding=1)[0] > 0
    numbers = torch.arange(where.numel(), device=where.device).view(where.shape)
    return numbers[::2, ::2, ::2][beside]


def interpolate_odd_voxels(volume: Tensor) -> Tensor:
    """A volume (z, y, x), linear between its voxels of even place on each axis; past the last, constant."""
    coarse = F.pad(volume[None, None, ::2, ::2, ::2], (0, 1) * 3, mode="replicate")
    size = [2 * n - 1 for n in coarse.shape[2:]]
    fine = F.interpolate(coarse, size=size, mode="trilinear", align_corners=True)[0, 0]
    z, y, x = volume.shape
    return fine[:z, :y, :x]


def matern(apart: Tensor, length: float) -> Tensor:
    """Matern correlation with exponent 3/2, of distances `apart` of any shape, in the unit of `length`."""
    scaled = apart * (3**0.5 / length)
    return torch.exp(-scaled).mul_(scaled + 1)


@dataclass(frozen=True)
class Blocks:
    """Cubes of a grid, each with the voxels in it that are seen.

    Attributes:
        voxels: (n,) of the flattened grid.
        block: (n,) int64, the number of each voxel's block.
    """

    voxels: Tensor
    block: Tensor

    @classmethod
    def of(cls, where: Tensor, most: int) -> "Blocks":
        """Those of the voxels where (z, y, x) bool is true: the smallest cubes that are `most` or fewer."""
        places, edge = torch.nonzero(where), 1
        strides = places.new_tensor([where.shape[1] * where.shape[2], where.shape[2], 1])
        while True:
            blocks, block = torch.unique((places // edge * strides).sum(1), return_inverse=True)
            if len(blocks) <= most:
                return cls(torch.nonzero(where.flatten())[:, 0], block)
            edge += 1

    def __len__(self) -> int:
        return int(self.block.max()) + 1 if len(self.block) else 0

    def means(self, values: Tensor) -> Tensor:
        """(channels, voxels of the grid) -> (channels, blocks)."""
        count = torch.bincount(self.block, minlength=len(self))
        total = values.new_zeros(len(values), len(self))
        return total.index_add_(1, self.block, values[:, self.voxels]) / count
