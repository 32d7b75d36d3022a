"""Masks moved from one grid to another."""

import numpy as np
from scipy import ndimage

from kneeformer.geometry.grid import Grid

_SAME = 0.01  # voxels by which coinciding grids may differ


def whole_shift(own: Grid, other: Grid) -> tuple[int, ...] | None:
    """The voxel (z, y, x) of another grid where a grid begins; None if their voxels do not coincide."""
    matrix = other.to_index() @ own.to_patient()
    whole = np.rint(matrix[:3, 3])
    apart = np.abs(matrix[:3, 3] - whole) + np.abs(matrix[:3, :3] - np.eye(3)) @ np.array(own.shape)
    return tuple(whole.astype(int).tolist()) if apart.max() < _SAME else None


def pasted(mask: np.ndarray, first: tuple[int, ...], grid: Grid) -> np.ndarray:
    """A mask that begins at voxel `first` of a grid, cut or padded to that grid."""
    whole = np.zeros(grid.shape, bool)
    sides = list(zip(first, mask.shape, grid.shape, strict=True))
    into = tuple(slice(max(at, 0), max(min(at + n, size), 0)) for at, n, size in sides)
    part = tuple(slice(max(-at, 0), max(min(n, size - at), -at, 0)) for at, n, size in sides)
    whole[into] = mask[part]
    return whole


def resampled(mask: np.ndarray, own: Grid, grid: Grid) -> np.ndarray:
    """A mask on another grid, by linear interpolation and a threshold of one half."""
    matrix = own.to_index() @ grid.to_patient()
    padded = np.pad(mask.astype(np.float32), 1)
    share = ndimage.affine_transform(
        padded, matrix[:3, :3], matrix[:3, 3] + 1, grid.shape, order=1, mode="constant"
    )
    return np.asarray(share >= 0.5)
