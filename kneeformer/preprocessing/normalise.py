"""Intensities of each channel brought to one scale, as the plan says; outliers count in no statistic."""

import numpy as np

from kneeformer.data.outliers import outlier_limits
from kneeformer.plan import Normalisation


def normalise(image: np.ndarray, settings: tuple[Normalisation, ...]) -> np.ndarray:
    """(channels, z, y, x) of any dtype -> float32, each channel by its own setting."""
    return np.stack([_channel(c.astype(np.float32), s) for c, s in zip(image, settings, strict=True)])


def _channel(voxels: np.ndarray, settings: Normalisation) -> np.ndarray:
    within = outlier_limits(voxels).within(voxels)
    usual = voxels if within is None else voxels[within]
    if within is not None:
        np.clip(voxels, usual.min(), usual.max(), out=voxels)
    if settings.kind == "zscore":
        voxels -= float(usual.mean())
        usual = voxels if within is None else voxels[within]
        voxels /= max(float(usual.std()), 1e-8)
    elif settings.kind == "ct":
        np.clip(voxels, settings.lower, settings.upper, out=voxels)
        voxels -= settings.mean
        voxels /= settings.deviation
    elif settings.kind == "unit":
        lowest = voxels.min()
        voxels -= lowest
        voxels /= max(float(voxels.max()), 1e-8)
    return voxels
