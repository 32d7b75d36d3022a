"""Sensitivity maps from the centre lines."""

import numpy as np

from kneeformer.kspace.coils import coil_sensitivities
from kneeformer.kspace.fourier import to_kspace


def test_smooth_sensitivities_are_found_from_the_centre_lines() -> None:
    y, x = np.mgrid[0:64, 0:80] / 64 - 0.5
    true = np.stack([np.exp(-((x - c) ** 2 + y**2) / 0.8) * np.exp(1j * (y + c * x)) for c in (-0.6, 0.8)])
    true /= np.sqrt((abs(true) ** 2).sum(0))
    disc = np.hypot(y, x - 0.1) < 0.4
    kspace = to_kspace((true * disc)[:, None], (3,))  # image along the rows, as it is stored
    kspace[..., : 40 - 8], kspace[..., 40 + 8 :] = 0, 0
    found = coil_sensitivities(kspace, (3,), 15)
    np.testing.assert_allclose((abs(found) ** 2).sum(0), 1, atol=1e-6)
    inside = np.hypot(y, x - 0.1) < 0.3
    assert abs(abs(found[:, 0]) - abs(true))[:, inside].max() < 0.05
    relative = found[0, 0] / found[1, 0] * (true[1] / true[0])
    assert abs(np.angle(relative[inside])).max() < 0.1
