"""The noise level of k-space, from the samples with the least signal."""

import math

import numpy as np

from kneeformer.kspace.sampling import measured_columns

_OUTER = 0.2  # of the measured columns: those farthest from the zero frequency
_QUANTILE = 0.25  # of the squared samples: most of the image lies above


def noise_level(kspace: np.ndarray) -> np.ndarray:
    """(coils,) standard deviation of the complex noise of each coil: sqrt(E |n|^2).

    The squares of complex Gaussian noise have an exponential distribution, whose quartile gives its mean.
    Signal in the outer columns can only raise the estimate.

    Args:
        kspace: (coils, slices, rows, columns): image or k-space along rows, k-space along columns, exactly
            zero where nothing was measured.
    """
    places = np.flatnonzero(measured_columns(kspace))
    distance = np.abs(places - kspace.shape[-1] // 2)
    outer = places[np.argsort(distance)[-max(1, round(_OUTER * len(places))) :]]
    samples = kspace[..., outer].reshape(len(kspace), -1)
    quartile = np.quantile(samples.real**2 + samples.imag**2, _QUANTILE, axis=1)
    return np.asarray(np.sqrt(quartile / -math.log(1 - _QUANTILE)))
