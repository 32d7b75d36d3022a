"""Sensitivity maps from the centre lines."""

import numpy as np

from kneeformer.kspace.coils import coil_sensitivities, low_resolution
from kneeformer.kspace.fourier import to_image, to_kspace


def test_smooth_sensitivities_are_found_from_the_centre_lines() -> None:
    y, x = np.mgrid[0:64, 0:80] / 64 - 0.5
    true = np.stack([np.exp(-((x - c) ** 2 + y**2) / 0.8) * np.exp(1j * (y + c * x)) for c in (-0.6, 0.8)])
    true /= np.sqrt((abs(true) ** 2).sum(0))
    disc = np.hypot(y, x - 0.1) < 0.4
    kspace = to_kspace((true * disc)[:, None], (3,))  # image along the rows, as it is stored
    kspace[..., : 40 - 8], kspace[..., 40 + 8 :] = 0, 0
    found = coil_sensitivities(kspace, (-1,), 15)
    np.testing.assert_allclose((abs(found) ** 2).sum(0), 1, atol=1e-6)
    inside = np.hypot(y, x - 0.1) < 0.3
    assert abs(abs(found[:, 0]) - abs(true))[:, inside].max() < 0.05
    relative = found[0, 0] / found[1, 0] * (true[1] / true[0])
    assert abs(np.angle(relative[inside])).max() < 0.1


def test_a_low_resolution_image_is_the_transform_of_the_weighted_middle() -> None:
    """By fast Fourier transforms of everything, the samples beyond the middle weighted by 0."""
    rng = np.random.default_rng(0)
    for axes in ((-1,), (-2, -1)):
        kspace = rng.standard_normal((2, 9, 10, 13)) + 1j * rng.standard_normal((2, 9, 10, 13))
        weighted = kspace if -2 in axes else to_kspace(kspace, (2,))
        for axis in (2, 3):
            n = kspace.shape[axis]
            away = np.abs(np.arange(n) - n // 2) / 3.5
            hann = np.where(away < 1, 0.5 + 0.5 * np.cos(np.pi * away), 0)
            weighted = weighted * hann.reshape([-1 if a == axis else 1 for a in range(4)])
        expected = to_image(weighted, (2, 3))
        np.testing.assert_allclose(low_resolution(kspace, axes, 7), expected, atol=1e-12)
