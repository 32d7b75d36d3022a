"""Residual kriging: the prior's error at visible voxels is extrapolated into the hidden ones.

No prior of a few dozen bones reproduces a new one: its surface is off by about a millimetre, and by about as
much a few millimetres further. That error is known at visible voxels, and kriging extrapolates it: near
visible bone the completed surface joins it without a step, and far from it the prior is unchanged.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from kneeformer.geometry.aliases import Spacing
from kneeformer.networks.positions import points_from_middle
from kneeformer.shape_models.kriging import Blocks, Regression, matern

SURFACE_MM = 5.0  # from a surface, within which supports lie; errors are predicted twice as far
NUGGET = 0.1  # variance of a voxel's own error, as a share of the variance of the correlated error
_SUPPORTS = 800  # largest number of blocks of voxels
_REACH = 1.5  # correlation lengths from hidden voxels within which supports lie


@dataclass(frozen=True)
class _Alike:
    """Errors of variance 1 with a correlation length."""

    points: Tensor
    length: float

    def between(self, first: Tensor, second: Tensor) -> Tensor:
        return matern(torch.cdist(self.points[first], self.points[second]), self.length)

    def variance(self, voxels: Tensor) -> Tensor:
        return self.points.new_ones(len(voxels))


def krige_residual(
    predicted: Tensor, distance: Tensor, known: Tensor, spacing: Spacing, correlation_mm: float
) -> tuple[Tensor, Tensor]:
    """The error of a prediction at unknown voxels near its surface.

    The covariance is Matern's with exponent 3/2.

    Args:
        predicted: (z, y, x) signed distance in mm, by the prior.
        distance: (z, y, x) signed distance of the bone; read where known.
        known: (z, y, x) bool.

    Returns:
        (z, y, x) mm to add to the prediction, and the share in [0, 1] of the error's variance that is left.
    """
    correction, left = torch.zeros_like(predicted), torch.ones_like(predicted)
    near = beside_hidden(known, spacing, correlation_mm)
    blocks = Blocks.of(near & (predicted.abs() < SURFACE_MM), _SUPPORTS)
    queries = torch.nonzero((~known & (predicted.abs() < 2 * SURFACE_MM)).flatten())[:, 0]
    if len(blocks) and len(queries):
        points = points_from_middle((known.shape[0], known.shape[1], known.shape[2]), spacing, known.device)
        error = blocks.means((distance - predicted).flatten()[None])[0]
        alike = _Alike(torch.cat([blocks.means(points.T).T, points]), correlation_mm)
        supports = torch.arange(len(blocks), device=known.device)
        regression = Regression(error, supports, alike, NUGGET)
        correction.view(-1)[queries] = regression.mean(len(blocks) + queries)
        left.view(-1)[queries] = regression.variance(len(blocks) + queries)
    left[known] = 0
    return correction, left


def beside_hidden(known: Tensor, spacing: Spacing, correlation_mm: float) -> Tensor:
    """(z, y, x) bool: known voxels near enough to unknown ones to predict their error."""
    to_hidden = ndimage.distance_transform_edt(known.cpu().numpy(), spacing).astype(np.float32)
    near = (to_hidden > 0) & (to_hidden < _REACH * correlation_mm)
    return torch.from_numpy(near).to(known.device)
