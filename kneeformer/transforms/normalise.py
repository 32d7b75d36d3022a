"""Each channel's intensities brought to one scale, as the plan says; statistics ignore outliers."""

import numpy as np

from kneeformer.config import Normalisation
from kneeformer.data.outliers import outlier_limits

_AT_ONCE = 1 << 16  # voxels summed together


def normalise(image: np.ndarray, settings: tuple[Normalisation, ...]) -> np.ndarray:
    """(channels, z, y, x) of any dtype -> float32, each channel by its own setting.

    Outliers become the lowest or highest value of the other voxels.
    """
    return np.stack([_channel(c.astype(np.float32), s) for c, s in zip(image, settings, strict=True)])


def _channel(voxels: np.ndarray, settings: Normalisation) -> np.ndarray:
    within = outlier_limits(voxels).within(voxels)
    usual = voxels if within is None else voxels[within]
    if within is not None:
        np.clip(voxels, usual.min(), usual.max(), out=voxels)
    if settings.kind == "zscore":
        mean, deviation = _moments(usual)
        voxels -= mean
        voxels /= deviation or 1.0
    elif settings.kind == "ct":
        np.clip(voxels, settings.lower, settings.upper, out=voxels)
        voxels -= settings.mean
        voxels /= settings.deviation
    elif settings.kind == "unit":
        voxels -= voxels.min()
        voxels /= float(voxels.max()) or 1.0
    return voxels


def _moments(voxels: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation, always in double precision: the squares overflow float32 at 1e19."""
    flat = voxels.ravel()
    first, total, squares = float(flat[0]), 0.0, 0.0
    for start in range(0, flat.size, _AT_ONCE):
        part = flat[start : start + _AT_ONCE].astype(np.float64) - first
        total += float(part.sum())
        squares += float(part @ part)
    mean = total / flat.size
    return first + mean, float(np.sqrt(max(0.0, squares / flat.size - mean**2)))
