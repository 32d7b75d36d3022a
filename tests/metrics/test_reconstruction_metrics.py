"""Metrics of reconstructions: by hand, and equal to fastMRI's formulas."""

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from kneeformer.metrics.reconstruction import NMSE, PSNR, SSIM, limb, nmse, psnr, reconstruction_metrics, ssim


def volumes() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.random((3, 20, 24)).astype(np.float32) * np.array([1, 2, 3], np.float32)[:, None, None]
    return truth, truth + 0.1 * rng.standard_normal(truth.shape).astype(np.float32)


def test_errors_by_hand() -> None:
    truth, found = np.full((1, 8, 8), 2.0), np.full((1, 8, 8), 1.0)
    assert nmse(truth, found) == 0.25
    assert psnr(truth, found) == pytest.approx(10 * math.log10(4))
    assert psnr(truth, truth) == math.inf and ssim(truth, truth) == 1
    left = np.zeros((1, 8, 8), bool)
    left[..., :4] = True
    found[..., :4] = 2
    assert nmse(truth, found, left) == 0 and nmse(truth, found, ~left) == 0.25
    assert ssim(truth, found, np.zeros_like(left)) != ssim(truth, found)


def test_they_are_what_fastmri_computes() -> None:
    """Its evaluate.py, with the volume's own maximum, written out."""
    truth, found = volumes()
    peak = truth.max()
    by_slice = [structural_similarity(t, f, data_range=peak) for t, f in zip(truth, found, strict=True)]
    assert reconstruction_metrics(truth, found) == pytest.approx(
        {
            NMSE: np.linalg.norm(truth - found) ** 2 / np.linalg.norm(truth) ** 2,
            PSNR: peak_signal_noise_ratio(truth, found, data_range=peak),
            SSIM: np.mean(by_slice),
        },
        abs=1e-6,
    )


def test_the_limb_is_what_is_bright_with_its_holes() -> None:
    image = np.full((2, 40, 40), 0.02)
    disc = np.hypot(*np.ogrid[-20:20, -20:20]) < 12
    image[:, disc] = 1
    image[0, 18:22, 18:22] = 0  # a hole, as of cortical bone
    found = limb(image)
    assert (found == disc).mean() > 0.99 and found[0, 20, 20]
