"""Structural similarity of volumes as a metric (Wang et al. 2004); as a loss it is in `networks.ssim`."""

import numpy as np
import scipy

from kneeformer.geometry.boxes import around

K1, K2 = 0.01, 0.03  # stabilise luminance and structure, as shares of the data range
DEVIATION = 1.5  # voxels, of the Gaussian window


def similarity_map(first: np.ndarray, second: np.ndarray, window: int) -> np.ndarray:
    """SSIM around each voxel, for values in [0, 1]; K1 0.01, K2 0.03.

    The window is a Gaussian with a deviation of 1.5 voxels, cut to `window` voxels along each axis; at the
    border the volumes are reflected. Where the volumes agree in a window it is 1 exactly, so that time and
    memory (about 40 bytes a voxel) go with the box in which they differ.

    Args:
        first, second: (z, y, x) float.
        window: width in voxels, odd.

    Returns:
        (z, y, x) float32, 1 where equal.
    """
    found = np.ones(first.shape, np.float32)
    differ = first != second
    if not differ.any():
        return found
    box = around(differ, 2 * (window // 2))  # in its outer half windows agree, reflected or not
    offsets = np.arange(window) - window // 2
    profile = np.exp(-0.5 * (offsets / DEVIATION) ** 2)
    found[box] = _ssim(first[box].astype(np.float32), second[box].astype(np.float32), profile / profile.sum())
    return found


def _ssim(first: np.ndarray, second: np.ndarray, profile: np.ndarray) -> np.ndarray:
    """(z, y, x) float32, with a separable window."""

    def mean(volume: np.ndarray) -> np.ndarray:
        for axis in range(3):
            volume = scipy.ndimage.correlate1d(volume, profile, axis, mode="reflect")
        return volume

    mean_first, mean_second = mean(first), mean(second)
    c1, c2 = K1**2, K2**2
    covariance = mean(first * second) - mean_first * mean_second
    variances = mean(first**2) - mean_first**2 + (mean(second**2) - mean_second**2)
    luminance = (2 * mean_first * mean_second + c1) / (mean_first**2 + mean_second**2 + c1)
    return np.asarray(luminance * (2 * covariance + c2) / (variances + c2))
