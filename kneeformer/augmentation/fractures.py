"""Regions of a bone that are hidden, as a surgeon hides a fracture."""

import numpy as np

from kneeformer.data.geometry import Geometry
from kneeformer.preprocessing.bone import COMPLETE, KEEP


def hide(bone: np.ndarray, geometry: Geometry, rng: np.random.Generator, share: float = 0.2) -> np.ndarray:
    """A mask (z, y, x) uint8 of a healthy bone: 2 in a ball around a random voxel of it, 1 on what is left.

    Args:
        bone: (z, y, x) bool.
        share: of the bone's voxels that the ball hides.
    """
    voxels = np.argwhere(bone)
    centre = voxels[rng.integers(len(voxels))]
    squared = np.zeros(bone.shape)
    for axis, (n, at, edge) in enumerate(zip(bone.shape, centre, geometry.spacing, strict=True)):
        shape = [1, 1, 1]
        shape[axis] = n
        squared = squared + (((np.arange(n) - at) * edge) ** 2).reshape(shape)
    radius = np.quantile(squared[bone], share)
    return np.where(squared <= radius, COMPLETE, np.where(bone, KEEP, 0)).astype(np.uint8)
