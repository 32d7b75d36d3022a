"""Coil sensitivities from the fully measured centre of k-space, and images of several coils as one."""

import numpy as np

from kneeformer.kspace.fourier import root_sum_of_squares, to_image, to_kspace

READOUT = 2  # array axis of (coils, slices, rows, columns)


def low_resolution(kspace: np.ndarray, axes: tuple[int, ...], width: int) -> np.ndarray:
    """Coil images of the middle `width` samples along the encoded axes and the readout, Hann-weighted.

    Args:
        kspace: (coils, slices, rows, columns): image along the readout (rows), k-space along `axes`.
        axes: of the array that are phase-encoded: (3,), or (1, 3) of a 3D scan.

    Returns:
        (coils, slices, rows, columns) complex images.
    """
    weighted = to_kspace(kspace, (READOUT,))
    for axis in (*axes, READOUT):
        shape = [1] * kspace.ndim
        shape[axis] = -1
        weighted = weighted * _hann(kspace.shape[axis], width).astype(kspace.real.dtype).reshape(shape)
    return to_image(weighted, (*axes, READOUT))


def coil_sensitivities(kspace: np.ndarray, axes: tuple[int, ...], width: int) -> np.ndarray:
    """Sensitivity maps: each coil's low-resolution image over the root sum of squares of all.

    Their squares sum to 1 in every voxel, and they carry the smooth phase of the image (McKenzie et al.
    2002). Arguments as `low_resolution`.
    """
    images = low_resolution(kspace, axes, width)
    together = root_sum_of_squares(images)
    return np.asarray(images / np.maximum(together, np.finfo(together.dtype).tiny))


def _hann(size: int, width: int) -> np.ndarray:
    """(size,) weights around the middle sample, size // 2; 0 from a distance of width / 2 on."""
    away = np.abs(np.arange(size) - size // 2) / (width / 2)
    return np.where(away < 1, 0.5 + 0.5 * np.cos(np.pi * away), 0.0)
