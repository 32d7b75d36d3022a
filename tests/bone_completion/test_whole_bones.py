"""Whole bones as models give them back: balls scored by hand."""

import math

import numpy as np
import pytest

from kneeformer.metrics.shape_completion import D_SSIM, PSNR, RMSD, RMSE
from kneeformer.tasks.bone_completion.whole_bones import score_whole_bone

SPACING = (2.0, 2.0, 2.0)


def ball(radius_mm: float, brightness: float = 0.5) -> np.ndarray:
    """(2, z, y, x)."""
    axes = np.meshgrid(*[(np.arange(24) - 11.5) * 2] * 3, indexing="ij")
    distance = np.linalg.norm(axes, axis=0) - radius_mm
    return np.stack([brightness * (distance < 0), distance])


def test_a_bone_that_comes_back_as_it_was_has_no_error() -> None:
    scores = score_whole_bone(ball(15), ball(15), SPACING)
    assert scores[D_SSIM[11]] == scores[RMSE] == 0 and scores[PSNR] == 100
    assert scores[RMSD] == pytest.approx(0, abs=1e-6)


def test_surfaces_lie_a_fraction_of_a_voxel_apart() -> None:
    assert score_whole_bone(ball(15), ball(15.7), SPACING)[RMSD] == pytest.approx(0.7, abs=0.05)


def test_brightness_is_an_error_of_intensities_alone() -> None:
    bone, found = ball(15), ball(15, brightness=0.6)
    scores, share = score_whole_bone(bone, found, SPACING), (bone[1] < 0).mean()
    assert scores[RMSE] == pytest.approx(0.1 * math.sqrt(share))
    assert scores[PSNR] == pytest.approx(-20 * math.log10(scores[RMSE]))
    assert scores[RMSD] == pytest.approx(0, abs=1e-6) and scores[D_SSIM[11]] > 0


def test_nothing_found_is_as_far_off_as_the_grid_is_wide() -> None:
    nothing = np.stack([np.zeros((24, 24, 24)), np.full((24, 24, 24), 5.0)])
    assert score_whole_bone(ball(15), nothing, SPACING)[RMSD] == pytest.approx(48 * math.sqrt(3))
