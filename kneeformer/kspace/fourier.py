"""The Fourier transform of Cartesian MRI: centred (the zero frequency in the middle) and orthonormal."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy

IN_PLANE, VOLUME = (-2, -1), (-3, -2, -1)


def to_kspace(image: np.ndarray, axes: Sequence[int] = IN_PLANE) -> np.ndarray:
    """Centred orthonormal Fourier transform of an array of any shape over `axes`.

    The result is complex64 for float32 and complex64, complex128 for float64 and complex128. The middle of an
    axis of n samples is n // 2, also for odd n. Any axes may be transformed: two, three, or only the readout.
    """
    return np.asarray(
        scipy.fft.fftshift(scipy.fft.fftn(scipy.fft.ifftshift(image, axes), axes=axes, norm="ortho"), axes)
    )


def to_image(kspace: np.ndarray, axes: Sequence[int] = IN_PLANE) -> np.ndarray:
    """Inverse of `to_kspace`, which is its adjoint; shapes and precision as there."""
    return np.asarray(
        scipy.fft.fftshift(scipy.fft.ifftn(scipy.fft.ifftshift(kspace, axes), axes=axes, norm="ortho"), axes)
    )


def centre_crop(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The middle of the last axes, from (n - size) // 2 on, as in fastMRI.

    Raises:
        ValueError: the array is smaller than `shape`.
    """
    sizes = array.shape[-len(shape) :]
    if any(n < size for n, size in zip(sizes, shape, strict=True)):
        raise ValueError(f"{tuple(sizes)} has no middle of {tuple(shape)}")
    starts = [(n - size) // 2 for n, size in zip(sizes, shape, strict=True)]
    middle: tuple[Any, ...] = tuple(slice(s, s + size) for s, size in zip(starts, shape, strict=True))
    where: tuple[Any, ...] = (Ellipsis, *middle)
    return np.asarray(array[where])


def root_sum_of_squares(coil_images: np.ndarray) -> np.ndarray:
    """(coils, ...) complex -> (...) float: the magnitude image of several coils (Roemer et al. 1990)."""
    return np.asarray(np.sqrt((coil_images.real**2 + coil_images.imag**2).sum(0)))


def zero_filled(kspace: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The magnitude image (slices, rows, columns) of the measured samples, cut to `shape`.

    Args:
        kspace: (coils, slices, rows, columns) complex samples along rows and columns; or, for a 3D scan,
            (coils, 1, partitions, rows, columns) samples along all three.
    """
    axes = VOLUME if is_3d(kspace) else IN_PLANE
    slices = [root_sum_of_squares(to_image(kspace[:, z], axes)) for z in range(kspace.shape[1])]
    return centre_crop(slices[0] if is_3d(kspace) else np.stack(slices), shape)


def zero_filled_middle(kspace: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """(1, rows, columns): the middle slice of `zero_filled`, for a picture."""
    middle = shape[0] // 2
    if is_3d(kspace):
        return zero_filled(kspace, shape)[middle : middle + 1]
    return zero_filled(kspace[:, middle : middle + 1], (1, *shape[1:]))


def is_3d(kspace: np.ndarray) -> bool:
    """True for k-space of a 3D scan, (coils, 1, partitions, rows, columns), encoded along two axes."""
    return kspace.ndim == 5
