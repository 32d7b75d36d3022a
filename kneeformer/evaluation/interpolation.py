"""Filling hidden voxels without learning anything: the baselines of pre-training."""

import numpy as np
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator
from scipy.ndimage import binary_dilation


def interpolate_hidden(
    image: np.ndarray, hidden: np.ndarray, spacing_mm: tuple[float, float, float]
) -> np.ndarray:
    """The image with its hidden voxels interpolated linearly from the visible ones around them.

    Linear within the tetrahedra of a Delaunay triangulation (in mm) of the visible voxels that touch hidden
    ones; beyond these, the nearest.

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
    nearest = NearestNDInterpolator(known, image[rim])(wanted)
    if np.all(np.ptp(known, axis=0) > 0):
        linear = LinearNDInterpolator(known, image[rim])(wanted)
        nearest = np.where(np.isnan(linear), nearest, linear)
    filled[hidden] = nearest
    return filled
