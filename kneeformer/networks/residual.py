"""What a prior gets wrong where the bone is visible goes on into what is hidden.

No prior of a few dozen bones reproduces a new one: its surface lies a millimetre off, and is off alike
a few millimetres further. That error is known at visible voxels, and Gaussian process regression (kriging;
Rasmussen and Williams 2006, chapter 2) carries it on: close to visible bone the completed surface meets it
without a step, and far from it the prior stands.
"""

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from kneeformer.networks.pose import Spacing, points_of

_NUGGET = 0.1  # variance of a voxel's own error, as a share of the variance of the error that goes on
_SUPPORTS, _QUERIES = 800, 8192
_SURFACE_MM = 5.0  # supports lie so near to the predicted surface; it is asked for twice as far
_REACH = 1.5  # correlation lengths from the hidden, within which supports lie


def continue_error(
    predicted: Tensor, distance: Tensor, known: Tensor, spacing: Spacing, correlation_mm: float
) -> tuple[Tensor, Tensor]:
    """Error of a prediction at every voxel near its surface that is not known.

    The covariance is Matern's with exponent 3/2.

    Args:
        predicted: (z, y, x) signed distance in mm, by the prior.
        distance: (z, y, x) signed distance of the bone; read where known.
        known: (z, y, x) bool.

    Returns:
        (z, y, x) mm to add to the prediction, and the share in [0, 1] of the error's variance that is left.
    """
    correction, left = torch.zeros_like(predicted), torch.ones_like(predicted)
    to_hidden = ndimage.distance_transform_edt(known.cpu().numpy(), spacing).astype(np.float32)
    near = torch.from_numpy((to_hidden > 0) & (to_hidden < _REACH * correlation_mm)).to(known.device)
    supports = torch.nonzero((near & (predicted.abs() < _SURFACE_MM)).flatten())[:, 0]
    supports = supports[:: -(-len(supports) // _SUPPORTS)] if len(supports) else supports
    queries = torch.nonzero((~known & (predicted.abs() < 2 * _SURFACE_MM)).flatten())[:, 0]
    if len(supports) and len(queries):
        points = points_of((known.shape[0], known.shape[1], known.shape[2]), spacing, known.device)
        among = _matern(torch.cdist(points[supports], points[supports]), correlation_mm)
        factor = torch.linalg.cholesky(among + _NUGGET * torch.eye(len(supports), device=known.device))
        error = (distance - predicted).flatten()[supports]
        weights = torch.cholesky_solve(error[:, None], factor)[:, 0]
        inverse = torch.cholesky_inverse(factor)
        for chunk in torch.split(queries, _QUERIES):
            cross = _matern(torch.cdist(points[chunk], points[supports]), correlation_mm)
            correction.view(-1)[chunk] = cross @ weights
            explained = ((cross @ inverse) * cross).sum(1)
            left.view(-1)[chunk] = (1 - explained).clamp(min=0)
    left[known] = 0
    return correction, left


def _matern(apart: Tensor, length: float) -> Tensor:
    scaled = 3**0.5 * apart / length
    return (1 + scaled) * torch.exp(-scaled)
