"""Interpolation of hidden voxels, a baseline of pre-training."""

import numpy as np
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator
from scipy.ndimage import binary_dilation
from scipy.spatial import QhullError

from kneeformer.geometry.aliases import Spacing

_SHAKE = 1e-4  # voxels of jitter: the triangulation of an exact lattice is ambiguous and takes hours


def interpolate_hidden(image: np.ndarray, hidden: np.ndarray, spacing_mm: Spacing) -> np.ndarray:
    """The image with its hidden voxels interpolated linearly from the visible ones around them.

    It is linear in the tetrahedra of a Delaunay triangulation (in mm) of the visible voxels that touch hidden
    ones, and takes the nearest beyond. Places are jittered a little, with a fixed seed.

    Args:
        image: (z, y, x); hidden voxels are not read.
        hidden: (z, y, x) bool, True is hidden; at least one voxel must be visible.

    Returns:
        (z, y, x) float32.
    """
    filled = np.where(hidden, 0, image).astype(np.float32)
    rim = binary_dilation(hidden, np.ones((3, 3, 3), bool)) & ~hidden
    if not rim.any():
        return filled
    known, wanted = (np.argwhere(mask) * np.array(spacing_mm) for mask in (rim, hidden))
    filled[hidden] = NearestNDInterpolator(known, image[rim])(wanted)
    little = _SHAKE * np.array(spacing_mm)
    shaken = known + np.random.default_rng(0).uniform(-little, little, known.shape)
    middle = (known.min(0) + known.max(0)) / 2
    within = wanted + np.clip(middle - wanted, -2 * little, 2 * little)  # moves borders inside
    try:
        linear = LinearNDInterpolator(shaken, image[rim])(within)
    except QhullError:  # fewer than five
        return filled
    filled[hidden] = np.where(np.isnan(linear), filled[hidden], linear)
    return filled
