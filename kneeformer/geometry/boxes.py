"""Boxes of a grid: cutting a part from a volume, and pasting it back."""

from collections.abc import Sequence

import numpy as np

from kneeformer.geometry.aliases import Size

Box = tuple[tuple[int, int], ...]  # first and last-plus-one voxel along each axis


def bounding_box(mask: np.ndarray) -> Box:
    """The smallest box around the true voxels of a mask of any dimensions; all of it if it is empty."""
    held = [np.flatnonzero(mask.any(_others(axis, mask.ndim))) for axis in range(mask.ndim)]
    if not len(held[0]):
        return whole_box(mask.shape)
    return tuple((int(at[0]), int(at[-1]) + 1) for at in held)


def whole_box(shape: Sequence[int]) -> Box:
    """The box of a whole grid."""
    return tuple((0, n) for n in shape)


def grown(box: Box, margins: Sequence[int], shape: Sequence[int]) -> Box:
    """The box, grown by margins in voxels on both sides of each axis, within a grid of `shape`."""
    return tuple(
        (max(0, first - margin), min(size, last + margin))
        for (first, last), margin, size in zip(box, margins, shape, strict=True)
    )


def box_shape(box: Box) -> Size:
    """Voxels along the axes (z, y, x) of a box."""
    z, y, x = (last - first for first, last in box)
    return (z, y, x)


def slices(box: Box) -> tuple[slice, ...]:
    """The box as an index of an array with its axes."""
    return tuple(slice(first, last) for first, last in box)


def around(mask: np.ndarray, voxels: int) -> tuple[slice, ...]:
    """The box around a mask, grown by `voxels` on every side, as an index; all of an empty mask."""
    return slices(grown(bounding_box(mask), mask.ndim * (voxels,), mask.shape))


def paste(part: np.ndarray, box: Box, shape: Size, outside: float = 0) -> np.ndarray:
    """Put a (..., z, y, x) part back where `box` was cut from a grid of `shape`; `outside` elsewhere."""
    if part.shape[-3:] == shape:
        return part
    whole = np.full((*part.shape[:-3], *shape), outside, part.dtype)
    z, y, x = slices(box)
    whole[..., z, y, x] = part
    return whole


def _others(axis: int, axes: int) -> tuple[int, ...]:
    return tuple(a for a in range(axes) if a != axis)
