"""Changing the number of voxels along each axis of a volume that keeps its physical extent.

Every kernel is one sparse matrix per axis: rows are new voxels, columns old ones. Where an axis is reduced,
the kernel is widened by the factor, so that details finer than the new grid are averaged, not aliased.
"""

from typing import Literal

import numpy as np
import scipy

from kneeformer.geometry.aliases import Size
from kneeformer.geometry.resampling import nearest_voxels, new_centres

Kernel = Literal["nearest", "linear", "cubic"]


def resample_image(
    image: np.ndarray, shape: Size, thick_axis: int | None, kernel: Kernel = "cubic"
) -> np.ndarray:
    """(channels, z, y, x) -> (channels, *shape) float32 by the kernel; along the thick axis always linear."""
    kernels: list[Kernel] = ["linear" if axis == thick_axis else kernel for axis in range(3)]
    return np.stack([_resample(channel.astype(np.float32, copy=False), shape, kernels) for channel in image])


def resample_labels(labels: np.ndarray, shape: Size, thick_axis: int | None) -> np.ndarray:
    """(z, y, x) -> shape, dtype kept: each label's mask is interpolated, the largest share wins.

    No new value appears. Along the thick axis the nearest slice is taken.
    """
    if labels.shape == shape:
        return labels
    kernels: list[Kernel] = ["nearest" if axis == thick_axis else "linear" for axis in range(3)]
    values = np.unique(labels)
    winner = np.full(shape, values[0], labels.dtype)
    best = np.full(shape, -1.0, np.float32)
    for value in values:
        share = _resample((labels == value).astype(np.float32), shape, kernels)
        wins = share > best
        winner[wins] = value
        best[wins] = share[wins]
    return winner


def _resample(volume: np.ndarray, shape: Size, kernels: list[Kernel]) -> np.ndarray:
    for axis in sorted(range(3), key=lambda a: shape[a] / volume.shape[a]):  # reductions first: less work
        if volume.shape[axis] != shape[axis]:
            volume = _along(volume, axis, weights(volume.shape[axis], shape[axis], kernels[axis]))
    return volume


def _along(volume: np.ndarray, axis: int, matrix: "scipy.sparse.csr_matrix") -> np.ndarray:
    front = np.ascontiguousarray(np.moveaxis(volume, axis, 0))
    product = matrix @ front.reshape(len(front), -1)
    return np.ascontiguousarray(np.moveaxis(product.reshape(-1, *front.shape[1:]), 0, axis))


def weights(old: int, new: int, kernel: Kernel) -> "scipy.sparse.csr_matrix":
    """(new, old) float32 matrix whose rows sum to one; beyond the edge the outermost voxel is repeated.

    "cubic" is the convolution kernel of Keys (1981) with a = -1/2; "linear" is the triangle.
    """
    if kernel == "nearest":
        ones = np.ones(new, np.float32), (np.arange(new), nearest_voxels(old, new))
        return scipy.sparse.csr_matrix(ones, (new, old))
    centres = new_centres(old, new)
    widening = max(1.0, old / new)
    reach = (2 if kernel == "cubic" else 1) * widening
    taps = np.floor(centres - reach).astype(int)[:, None] + np.arange(int(2 * reach) + 3)
    distance = np.abs(taps - centres[:, None]) / widening
    values = _keys(distance) if kernel == "cubic" else np.maximum(0, 1 - distance)
    values /= values.sum(1, keepdims=True)
    rows = np.repeat(np.arange(new), taps.shape[1])
    columns = np.clip(taps, 0, old - 1).ravel()
    matrix = scipy.sparse.coo_matrix((values.astype(np.float32).ravel(), (rows, columns)), (new, old)).tocsr()
    matrix.eliminate_zeros()
    return matrix


def _keys(distance: np.ndarray) -> np.ndarray:
    near = 1 - 2.5 * distance**2 + 1.5 * distance**3
    far = 2 - 4 * distance + 2.5 * distance**2 - 0.5 * distance**3
    return np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
