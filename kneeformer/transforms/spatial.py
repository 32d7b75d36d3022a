"""Spatial augmentation of a training crop: rotation, scale and mirroring, drawn once, applied per role.

Arrays are (c, z, y, x). A drawn matrix works in voxels about the centre of the crop, from the output back to
the input, so an image and a label warped by one matrix stay aligned whatever their interpolation.
"""

from typing import Literal

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from kneeformer.config import AugmentationSettings
from kneeformer.geometry.aliases import Size, Spacing

Role = Literal["image", "label"]

# Part of a voxel by which rounding alone may move a coordinate off the last voxel's centre.
_ROUNDING = 1e-4


def draw_affine(
    rng: np.random.Generator,
    settings: AugmentationSettings,
    spacing_mm: Spacing,
    thick_axis: int | None = None,
) -> np.ndarray | None:
    """A random rotation and scale in millimetres, as a matrix on voxel offsets.

    Angles are uniform within `settings.rotation_degrees` about each axis; the logarithm of the
    scale is uniform, so that objects shrink as often as they grow (above 1). Nothing is scaled across thick
    slices: there is nothing to interpolate between them.

    Returns:
        (3, 3) float64 from an output voxel's offset to its input's, both (z, y, x) from the centre; None if
        the crop stays as it is.
    """
    if rng.random() >= settings.affine_probability:
        return None
    limits = np.array(settings.rotation_degrees)
    # scipy calls the three coordinates x, y, z in their order; here they are z, y, x
    rotation = Rotation.from_euler("xyz", rng.uniform(-limits, limits), degrees=True).as_matrix()
    scale = np.full(3, np.exp(rng.uniform(*np.log(settings.scale))))
    if thick_axis is not None:
        scale[thick_axis] = 1
    matrix = in_voxels(rotation / scale, spacing_mm)
    return None if np.allclose(matrix, np.eye(3)) else matrix


def in_voxels(matrix_mm: np.ndarray, spacing_mm: Spacing) -> np.ndarray:
    """The (3, 3) matrix on voxel offsets that does what `matrix_mm` does on offsets in mm, both (z, y, x)."""
    spacing = np.array(spacing_mm)
    return np.asarray(matrix_mm * spacing[None, :] / spacing[:, None])


def region_needed(matrix: np.ndarray, crop: Size) -> Size:
    """Voxels of input around the crop's centre that its warp can reach, at least the crop.

    An axis grows by a whole number of voxels, the same on both sides: region and crop have the same centre.
    """
    half = (np.array(crop) - 1) / 2
    margin = np.ceil(np.abs(matrix) @ half - half - _ROUNDING).clip(min=0).astype(int)
    z, y, x = (int(c + 2 * m) for c, m in zip(crop, margin, strict=True))
    return z, y, x


def warp(array: np.ndarray, matrix: np.ndarray, crop: Size, role: Role, outside: float = 0) -> np.ndarray:
    """Sample a crop through `matrix` from the region around its centre.

    Images are interpolated linearly, and repeat their border beyond the region. Labels take the
    nearest voxel, and are `outside` there.

    Args:
        array: (c, z, y, x), at least of the size `region_needed`, or the result reaches outside it.
        matrix: (3, 3) voxel offsets from output to input, as `draw_affine` gives it.
        crop: (z, y, x) size of the result.

    Returns:
        (c, *crop) of the array's dtype.
    """
    values = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))[None]
    grid = _sampling_grid(matrix, crop, array.shape[1:])
    if role == "image":
        warped = _sample(values, grid, "bilinear", "border")
    else:
        warped = _sample(values - outside, grid, "nearest", "zeros") + outside
    return warped[0].numpy().astype(array.dtype, copy=False)


def centre(array: np.ndarray, crop: Size) -> np.ndarray:
    """The (c, *crop) middle of a (c, z, y, x) array: a view."""
    starts = [(size - c) // 2 for size, c in zip(array.shape[1:], crop, strict=True)]
    z, y, x = (slice(start, start + c) for start, c in zip(starts, crop, strict=True))
    return array[:, z, y, x]


def draw_mirror(rng: np.random.Generator, axes: tuple[int, ...]) -> tuple[int, ...]:
    """A random subset of the axes (0 is z), each with probability 0.5."""
    flipped = rng.random(len(axes)) < 0.5
    return tuple(axis for axis, flip in zip(axes, flipped, strict=True) if flip)


def mirror(array: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """A (c, z, y, x) array with the given axes (0 is z) reversed; contiguous, as torch needs it."""
    return np.ascontiguousarray(np.flip(array, tuple(axis + 1 for axis in axes)))


def _sample(values: torch.Tensor, grid: torch.Tensor, mode: str, padding: str) -> torch.Tensor:
    return torch.nn.functional.grid_sample(values, grid, mode, padding, align_corners=False)


def _sampling_grid(matrix: np.ndarray, crop: Size, region: tuple[int, ...]) -> torch.Tensor:
    """(1, *crop, 3) coordinates (x, y, z) in the region, -1 and 1 at its outer faces, for grid_sample.

    The matrix is linear: every coordinate is a sum of three one-dimensional ones, which is
    much faster than `affine_grid`.
    """
    scaled = torch.from_numpy(matrix * 2 / np.array(region)[:, None]).float().flip(0)
    z, y, x = (torch.arange(c, dtype=torch.float32) - (c - 1) / 2 for c in crop)
    planes = torch.outer(scaled[:, 0], z)[:, :, None] + torch.outer(scaled[:, 1], y)[:, None, :]
    coordinates = planes[..., None] + torch.outer(scaled[:, 2], x)[:, None, None, :]
    return coordinates.permute(1, 2, 3, 0)[None]
