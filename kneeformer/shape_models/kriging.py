"""Gaussian process regression (kriging; Rasmussen and Williams 2006, chapter 2) from voxel to voxel.

Voxels that are seen are far too many for a dense system. They are averaged over cubes of the grid, so that
all of them count: with some picked out instead, the answer depends on which these are.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

_AT_ONCE = 512  # queries: their covariances with the supports stay in the cache


class Covariance(Protocol):
    """Of a process with mean 0; voxels are given by their indices in the flattened grid."""

    def between(self, first: Tensor, second: Tensor) -> Tensor:
        """(n,) and (m,) voxels -> (n, m)."""

    def variance(self, voxels: Tensor) -> Tensor:
        """(n,) voxels -> (n,), the diagonal of `between`."""


def regress(
    values: Tensor, supports: Tensor, queries: Tensor, covariance: Covariance, noise: float
) -> tuple[Tensor, Tensor]:
    """Mean and variance of a process at voxels, given what is seen of it at others.

    Args:
        values: (supports,) of the process, each with an error of its own.
        supports, queries: voxels.
        noise: variance of those errors.

    Returns:
        (queries,) each.
    """
    among = covariance.between(supports, supports).double()
    among.diagonal().add_(noise)
    factor = torch.linalg.cholesky(among)
    weights = torch.cholesky_solve(values[:, None].double(), factor)[:, 0].to(values)
    factor = factor.to(values)
    means, variances = [], []
    for chunk in torch.split(queries, _AT_ONCE):
        cross = covariance.between(chunk, supports)
        means.append(cross @ weights)
        explained = torch.linalg.solve_triangular(factor, cross.T, upper=False).square().sum(0)
        variances.append((covariance.variance(chunk) - explained).clamp(min=0))
    return torch.cat(means), torch.cat(variances)


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
