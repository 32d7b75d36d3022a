"""Structural similarity of volumes (Wang et al. 2004) as a loss; as a metric it is in `metrics.ssim`."""

import torch
from torch import Tensor

from kneeformer.metrics.ssim import DEVIATION, K1, K2
from kneeformer.networks.ranks import pooled, pooled_mean


def ssim(
    first: Tensor,
    second: Tensor,
    window: int = 7,
    deviation: float = DEVIATION,
    data_range: float = 1.0,
    within: Tensor | None = None,
) -> Tensor:
    """Mean SSIM over voxels and channels, 1 for equal volumes.

    Computed in float32 even under autocast: variances are small differences of large numbers.

    Args:
        first, second: (batch, channels, z, y, x) float32.
        window: width in voxels of the Gaussian window, at most the smallest side; sides shorter than it
            are compared with a window that fits.
        deviation: standard deviation of the Gaussian, in voxels.
        data_range: largest minus smallest possible value.
        within: (batch, 1, z, y, x) bool; the mean is then over windows whose middle voxel is within, and
            1 where there is none.
    """
    windows = [_windows(n, window, deviation, first) for n in first.shape[2:]]

    def mean(volume: Tensor) -> Tensor:
        z, y, x = windows
        along_x_y = y @ (volume @ x.T)
        averaged: Tensor = z @ along_x_y.flatten(-2)
        return averaged.view(*averaged.shape[:-1], len(y), len(x))

    with torch.autocast(first.device.type, enabled=False):
        mean_first, mean_second = mean(first), mean(second)
        variance_first = mean(first * first) - mean_first**2
        variance_second = mean(second * second) - mean_second**2
        covariance = mean(first * second) - mean_first * mean_second
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    luminance = (2 * mean_first * mean_second + c1) / (mean_first**2 + mean_second**2 + c1)
    structure = (2 * covariance + c2) / (variance_first + variance_second + c2)
    similarity = luminance * structure
    if within is None:
        return pooled_mean(similarity)
    margins = [(n - len(rows)) // 2 for rows, n in zip(windows, first.shape[2:], strict=True)]
    middle = [slice(m, n - m) for m, n in zip(margins, within.shape[2:], strict=True)]
    counted = within[:, :, middle[0], middle[1], middle[2]].expand_as(similarity)
    total, count = pooled((similarity * counted).sum()), pooled(counted.sum())
    return torch.where(count > 0, total / count.clamp(min=1), 1.0)


def _windows(size: int, window: int, deviation: float, like: Tensor) -> Tensor:
    """(windows, size): the weights of each window along an axis. As matrices they are fast on a CPU."""
    width = min(window, size - (size + 1) % 2)
    first = torch.arange(size - width + 1, device=like.device)[:, None]
    offsets = torch.arange(size, device=like.device) - first - (width - 1) / 2
    weights = torch.exp(-0.5 * (offsets / deviation) ** 2) * (offsets.abs() <= (width - 1) / 2)
    return (weights / weights.sum(1, keepdim=True)).to(like.dtype)
