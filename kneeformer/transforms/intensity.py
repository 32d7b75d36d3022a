"""Intensity augmentation of a training crop: noise, blur, brightness, contrast, gamma, low resolution.

Every function takes a (c, z, y, x) float32 image and a generator, and returns a new array of that shape and
dtype. Channels are different contrasts, so each has its own draws. Images may be z-scored, in [0, 1] or in
any other unit: what is added or scaled is relative to the mean, deviation or range of the channel's own crop.

`by_batchgenerators` has the same changes, computed by another package.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from kneeformer.geometry.aliases import Size

Span = tuple[float, float]
IntensityChange = Callable[[np.ndarray, np.random.Generator], np.ndarray]

_PER_CHANNEL = (1, 2, 3)


def changes(thick_axis: int | None) -> dict[str, IntensityChange]:
    """Intensity changes by name, in the order of application: noise is the scanner's, so it comes first.

    Args:
        thick_axis: axis of the image's thick slices; nothing is blurred or resampled along it.
    """
    return {
        "noise": noise,
        "blur": partial(blur, thick_axis=thick_axis),
        "brightness": brightness,
        "contrast": contrast,
        "low_resolution": partial(low_resolution, thick_axis=thick_axis),
        "gamma": gamma,
    }


def noise(image: np.ndarray, rng: np.random.Generator, deviations: Span = (0.0, 0.15)) -> np.ndarray:
    """Add Gaussian noise, its deviation within `deviations` of the channel's own."""
    sigma = _uniform(rng, image, deviations) * _deviation(image)
    return np.asarray(image + sigma * rng.standard_normal(image.shape, dtype=np.float32))


def blur(
    image: np.ndarray,
    rng: np.random.Generator,
    sigma_voxels: Span = (0.5, 1.0),
    thick_axis: int | None = None,
) -> np.ndarray:
    """Smooth by a Gaussian of `sigma_voxels`, but not along the thick axis, whose slices are far apart."""
    blurred = np.empty_like(image)
    for channel, sigma in enumerate(rng.uniform(*sigma_voxels, size=len(image))):
        sigmas = [0.0 if axis == thick_axis else sigma for axis in range(3)]
        gaussian_filter(image[channel], sigmas, mode="nearest", truncate=3, output=blurred[channel])
    return blurred


def brightness(image: np.ndarray, rng: np.random.Generator, deviations: Span = (-0.3, 0.3)) -> np.ndarray:
    """Shift all voxels by `deviations` of the channel's own."""
    return np.asarray(image + _uniform(rng, image, deviations) * _deviation(image))


def contrast(image: np.ndarray, rng: np.random.Generator, factors: Span = (0.7, 1.4)) -> np.ndarray:
    """Scale the distance to the channel's mean, which does not change; nothing is clipped."""
    mean = image.mean(_PER_CHANNEL, keepdims=True)
    return np.asarray((image - mean) * _log_uniform(rng, image, factors) + mean)


def gamma(
    image: np.ndarray,
    rng: np.random.Generator,
    exponents: Span = (0.7, 1.5),
    inverted_probability: float = 0.25,
    retain_stats: bool = True,
) -> np.ndarray:
    """Raise the channel, scaled from its own range to [0, 1], to a power; inverted: seen from the bright end.

    With `retain_stats` each channel keeps its mean and deviation, otherwise its range.
    """
    flipped = rng.random((len(image), 1, 1, 1)) < inverted_probability
    exponent = _log_uniform(rng, image, exponents)
    lowest, highest = (f(image, axis=_PER_CHANNEL, keepdims=True) for f in (np.min, np.max))
    start, reach = np.where(flipped, highest, lowest), np.where(flipped, lowest - highest, highest - lowest)
    bent = start + reach * ((image - start) / np.where(reach == 0, 1, reach)) ** exponent
    return _with_stats_of(image, bent) if retain_stats else np.asarray(bent)


def low_resolution(
    image: np.ndarray,
    rng: np.random.Generator,
    zoom: Span = (0.5, 1.0),
    thick_axis: int | None = None,
) -> np.ndarray:
    """Average to a coarser grid and interpolate back: one zoom for all channels, not along the thick axis."""
    factor = rng.uniform(*zoom)
    fine = _size(image.shape[1:])
    coarse = [n if axis == thick_axis else max(1, round(n * factor)) for axis, n in enumerate(fine)]
    voxels = torch.from_numpy(np.ascontiguousarray(image))[None]
    averaged = torch.nn.functional.interpolate(voxels, coarse, mode="area")
    restored = torch.nn.functional.interpolate(averaged, fine, mode="trilinear", align_corners=False)
    return np.asarray(restored[0].numpy())


def _with_stats_of(image: np.ndarray, changed: np.ndarray) -> np.ndarray:
    """The changed channels with the mean and deviation that they have in the image."""
    factor = _deviation(image) / np.maximum(_deviation(changed), np.float32(1e-8))
    old, new = (a.mean(_PER_CHANNEL, keepdims=True) for a in (image, changed))
    return np.asarray((changed - new) * factor + old)


def _deviation(image: np.ndarray) -> np.ndarray:
    """(c, 1, 1, 1) standard deviation of each channel."""
    return np.asarray(image.std(_PER_CHANNEL, keepdims=True))


def _uniform(rng: np.random.Generator, image: np.ndarray, span: Span) -> np.ndarray:
    """(c, 1, 1, 1) float32, one draw per channel."""
    return rng.uniform(*span, size=(len(image), 1, 1, 1)).astype(np.float32)


def _log_uniform(rng: np.random.Generator, image: np.ndarray, span: Span) -> np.ndarray:
    """(c, 1, 1, 1) float32, uniform in the logarithm: halving is as likely as doubling."""
    return np.asarray(np.exp(_uniform(rng, image, (np.log(span[0]), np.log(span[1])))))


def _size(shape: tuple[int, ...]) -> Size:
    z, y, x = shape
    return z, y, x
