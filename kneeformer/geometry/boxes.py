"""Boxes of a grid: the part of a volume that is worked on, and its way back."""

import numpy as np

from kneeformer.geometry.aliases import Size

Box = tuple[
    tuple[int, int], tuple[int, int], tuple[int, int]
]  # first and last-plus-one voxel along (z, y, x)


def occupied_box(image: np.ndarray, labels: np.ndarray | None = None) -> Box:
    """The smallest box around every voxel that is not zero in some channel, or that is labelled.

    An image of zeros alone keeps its whole box.
    """
    occupied = (image != 0).any(0)
    if labels is not None:
        occupied |= labels > 0
    sides = []
    for axis in range(3):
        held = np.flatnonzero(occupied.any(tuple(a for a in range(3) if a != axis)))
        if not len(held):
            return whole_box(image)
        sides.append((int(held[0]), int(held[-1]) + 1))
    return (sides[0], sides[1], sides[2])


def whole_box(image: np.ndarray) -> Box:
    """All of a (channels, z, y, x) image."""
    return ((0, image.shape[1]), (0, image.shape[2]), (0, image.shape[3]))


def slices(box: Box) -> tuple[slice, slice, slice]:
    """The box as an index of a (z, y, x) array."""
    z, y, x = (slice(first, last) for first, last in box)
    return (z, y, x)


def paste(part: np.ndarray, box: Box, shape: Size, outside: float = 0) -> np.ndarray:
    """Put a (..., z, y, x) part back where `box` was cut from a grid of `shape`; `outside` elsewhere."""
    if part.shape[-3:] == shape:
        return part
    whole = np.full((*part.shape[:-3], *shape), outside, part.dtype)
    z, y, x = slices(box)
    whole[..., z, y, x] = part
    return whole
