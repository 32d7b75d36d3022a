"""Coil sensitivities from the fully measured centre of k-space, and images of several coils as one."""

import numpy as np

from kneeformer.kspace.fourier import root_sum_of_squares


def low_resolution(kspace: np.ndarray, axes: tuple[int, ...], width: int) -> np.ndarray:
    """Coil images of the middle `width` samples along rows and columns, Hann-weighted.

    The few samples are summed as waves; a fast Fourier transform would mostly transform zeros.

    Args:
        kspace: (coils, slices, rows, columns): k-space along `axes`, an image along all others.
        axes: phase-encoded axes, counted from the end: (-1,), or (-2, -1).

    Returns:
        (coils, slices, rows, columns) complex images.
    """
    images, waves = kspace, {axis: _waves(kspace.shape[axis], width) for axis in (-1, -2)}
    for axis, (wave, _) in waves.items():
        images = (
            np.take(images, _middle(kspace.shape[axis], width), axis)
            if axis in axes
            else _along(axis, wave.conj().T, images)
        )
    for axis, (wave, weights) in reversed(waves.items()):
        images = _along(axis, wave * weights, images)
    return images


def coil_sensitivities(kspace: np.ndarray, axes: tuple[int, ...], width: int) -> np.ndarray:
    """Sensitivity maps: each coil's low-resolution image over the root sum of squares of all.

    Their squares sum to 1 in every voxel, and they carry the smooth phase of the image (McKenzie et al.
    2002). Arguments as `low_resolution`.
    """
    images = low_resolution(kspace, axes, width)
    together = root_sum_of_squares(images)
    return np.asarray(images / np.maximum(together, np.finfo(together.dtype).tiny))


def _middle(size: int, width: int) -> np.ndarray:
    """Indices of the samples nearer than width / 2 to the middle one, size // 2."""
    return np.flatnonzero(np.abs(np.arange(size) - size // 2) < width / 2)


def _waves(size: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(size, samples) images of the samples of `_middle`, and their (samples,) Hann weights."""
    frequencies = _middle(size, width) - size // 2
    waves = np.exp(2j * np.pi / size * np.outer(np.arange(size) - size // 2, frequencies)) / np.sqrt(size)
    return waves, 0.5 + 0.5 * np.cos(np.pi * frequencies / (width / 2))


def _along(axis: int, matrix: np.ndarray, array: np.ndarray) -> np.ndarray:
    """Product of (m, n) with the n values along an axis of an array, in the array's precision."""
    product = np.moveaxis(array, axis, -1) @ matrix.T.astype(array.dtype)
    return np.ascontiguousarray(np.moveaxis(product, -1, axis))
