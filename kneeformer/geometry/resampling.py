"""Resampling along an axis: old and new voxels cover the same millimetres, with the same outer faces."""

from collections.abc import Sequence

import numpy as np

from kneeformer.geometry.aliases import Size, Spacing

_SLICES = 1.5  # slices thicker or thinner than planned by up to this factor are kept


def resampled_spacing(scan: Spacing, target: Spacing, thick_axis: int | None) -> Spacing:
    """The spacing (z, y, x) to which a scan is resampled: the target, but thick slices stay as they are.

    Anatomy between thick slices cannot be interpolated. Only slices that are more than 1.5 times thicker or
    thinner than the target are resampled: they differ too much from those of other scans.
    """
    if thick_axis is None or not 1 / _SLICES <= scan[thick_axis] / target[thick_axis] <= _SLICES:
        return target
    kept = list(target)
    kept[thick_axis] = scan[thick_axis]
    return (kept[0], kept[1], kept[2])


def new_shape(shape: Size, spacing: Sequence[float], target: Sequence[float]) -> Size:
    """Number of voxels along (z, y, x) that cover the same millimetres at `target` spacing; at least one."""
    z, y, x = (max(1, round(n * s / t)) for n, s, t in zip(shape, spacing, target, strict=True))
    return (z, y, x)


def new_centres(old: int, new: int) -> np.ndarray:
    """(new,) float64: index on an axis of `old` voxels at which the centres of `new` voxels lie."""
    return (np.arange(new) + 0.5) * old / new - 0.5


def nearest_voxels(old: int, new: int) -> np.ndarray:
    """(new,) int64: the old voxel in which the centre of each new one lies; on a face, the later one."""
    return np.clip(np.floor(new_centres(old, new) + 0.5), 0, old - 1).astype(np.int64)
