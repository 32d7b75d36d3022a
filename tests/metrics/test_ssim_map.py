"""SSIM as a metric, by its definition."""

import numpy as np
import pytest

from kneeformer.metrics.ssim import similarity_map


def direct_ssim(first: np.ndarray, second: np.ndarray) -> float:
    """SSIM of one cubic window, from its weights."""
    offsets = np.arange(len(first)) - len(first) // 2
    profile = np.exp(-0.5 * (offsets / 1.5) ** 2)
    weights = np.einsum("i,j,k->ijk", profile, profile, profile)
    weights /= weights.sum()
    a, b = (weights * first).sum(), (weights * second).sum()
    variance_a, variance_b = (weights * (first - a) ** 2).sum(), (weights * (second - b) ** 2).sum()
    covariance = (weights * (first - a) * (second - b)).sum()
    luminance = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
    return float(luminance * (2 * covariance + 9e-4) / (variance_a + variance_b + 9e-4))


def test_ssim_agrees_with_its_definition() -> None:
    first, second = np.random.default_rng(3).random((2, 17, 16, 18))
    for window in (3, 7, 11, 15):
        found, half = similarity_map(first, second, window), window // 2
        for z, y, x in ((8, 8, 8), (7, 8, 10)):
            cube = np.s_[z - half : z + half + 1, y - half : y + half + 1, x - half : x + half + 1]
            assert found[z, y, x] == pytest.approx(direct_ssim(first[cube], second[cube]), abs=1e-5)
        corner = [np.pad(v, half, mode="symmetric")[:window, :window, :window] for v in (first, second)]
        assert found[0, 0, 0] == pytest.approx(direct_ssim(*corner), abs=1e-5)


def test_ssim_of_the_box_that_differs_is_that_of_the_volume() -> None:
    """One value more at the far corner makes the box the whole volume."""
    first = np.random.default_rng(4).random((30, 31, 32)).astype(np.float32)
    second, both = first.copy(), first.copy()
    second[4:7, 6:9, 15:18] += 0.3
    both[4:7, 6:9, 15:18] += 0.3
    both[-1, -1, -1] += 0.3
    both[0, 0, 0] += 0.3
    alone, together = similarity_map(first, second, 7), similarity_map(first, both, 7)
    middle = np.s_[4:-4, 4:-4, 4:-4]
    np.testing.assert_array_equal(alone[middle], together[middle])
    assert alone[1, 3, 12] < 1 and alone[0, 6, 15] == 1 and (alone == 1).sum() == 30 * 31 * 32 - 9**3
