"""Gaussian process regression (kriging; Rasmussen and Williams 2006, chapter 2) from voxel to voxel.

A dense system of all visible voxels would be too large. They are averaged over cubes of the grid, so that all
count; with a selection instead, the result would depend on it.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

_ROUNDING = 1e-5  # of a sum of float32 covariances
_AT_ONCE = 512  # queries: their covariances with the supports stay in the cache


class Covariance(Protocol):
    """Covariance of a process with mean 0; voxels are given by indices of the flattened grid."""

    def between(self, first: Tensor, second: Tensor) -> Tensor:
        """(n,) and (m,) voxels -> (n, m)."""

    def variance(self, voxels: Tensor) -> Tensor:
        """(n,) voxels -> (n,), the diagonal of `between`."""


class Regression:
    """A process conditioned on observations at some voxels.

    Args:
        values: (supports,) observed values, with independent errors.
        supports: voxels of the observations.
        noise: variance of the errors; at least that of rounding in float32 is assumed, or the covariances of
            nearly identical bones would not be positive definite.
    """

    def __init__(self, values: Tensor, supports: Tensor, covariance: Covariance, noise: float) -> None:
        self.supports, self.covariance = supports, covariance
        among = covariance.between(supports, supports).double()
        among.diagonal().add_(max(noise, _ROUNDING * float(among.diagonal().mean())))
        factor = torch.linalg.cholesky(among)
        self.weights = torch.cholesky_solve(values[:, None].double(), factor)[:, 0].to(values)
        self.factor = factor.to(values)

    def mean(self, queries: Tensor) -> Tensor:
        """(n,) voxels -> (n,)."""
        chunks = torch.split(queries, _AT_ONCE)
        return torch.cat([self.covariance.between(chunk, self.supports) @ self.weights for chunk in chunks])

    def variance(self, queries: Tensor) -> Tensor:
        """(n,) voxels -> (n,); far more costly than means: `interpolate_odd_voxels` avoids most of them."""
        return torch.cat([self._remaining(chunk) for chunk in torch.split(queries, _AT_ONCE)])

    def _remaining(self, queries: Tensor) -> Tensor:
        cross = self.covariance.between(self.supports, queries)
        explained = torch.linalg.solve_triangular(self.factor, cross, upper=False).square().sum(0)
        left: Tensor = self.covariance.variance(queries) - explained
        return left.clamp(min=0)


def even_voxels_beside(where: Tensor) -> Tensor:
    """(n,) voxels with even indices along each axis, in or beside the voxels of a (z, y, x) bool mask."""
    beside = F.max_pool3d(where[None].float(), 3, stride=2, padding=1)[0] > 0
    numbers = torch.arange(where.numel(), device=where.device).view(where.shape)
    return numbers[::2, ::2, ::2][beside]


def interpolate_odd_voxels(volume: Tensor) -> Tensor:
    """A volume (z, y, x), interpolated linearly between its even voxels; constant past the last one."""
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
    """Cubes of a grid, each with the voxels observed in it.

    Attributes:
        voxels: (n,) of the flattened grid.
        block: (n,) int64, the number of each voxel's block.
    """

    voxels: Tensor
    block: Tensor

    @classmethod
    def of(cls, where: Tensor, most: int) -> "Blocks":
        """Blocks of the voxels of a (z, y, x) bool mask: the smallest cubes that number at most `most`."""
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
