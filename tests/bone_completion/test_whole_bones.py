"""Whole bones as models give them back: balls scored by hand, and a table laid out by registrations."""

import math

import numpy as np
import pytest

from kneeformer.metrics.summary import CaseScores
from kneeformer.tasks.bone_completion.whole_bones import (
    MASKINGS,
    score_whole_bone,
    whole_bone_rows,
    whole_bone_table,
)

SPACING = (2.0, 2.0, 2.0)


def ball(radius_mm: float, brightness: float = 0.5) -> np.ndarray:
    """(2, z, y, x)."""
    axes = np.meshgrid(*[(np.arange(24) - 11.5) * 2] * 3, indexing="ij")
    distance = np.linalg.norm(axes, axis=0) - radius_mm
    return np.stack([brightness * (distance < 0), distance])


def test_a_bone_that_comes_back_as_it_was_has_no_error() -> None:
    scores = score_whole_bone(ball(15), ball(15), SPACING)
    assert scores["D-SSIM11"] == scores["RMSE"] == 0 and scores["PSNR"] == 100
    assert scores["RMSD_mm"] == pytest.approx(0, abs=1e-6)


def test_surfaces_lie_a_fraction_of_a_voxel_apart() -> None:
    assert score_whole_bone(ball(15), ball(15.7), SPACING)["RMSD_mm"] == pytest.approx(0.7, abs=0.05)


def test_brightness_is_an_error_of_intensities_alone() -> None:
    bone, found = ball(15), ball(15, brightness=0.6)
    scores, share = score_whole_bone(bone, found, SPACING), (bone[1] < 0).mean()
    assert scores["RMSE"] == pytest.approx(0.1 * math.sqrt(share))
    assert scores["PSNR"] == pytest.approx(-20 * math.log10(scores["RMSE"]))
    assert scores["RMSD_mm"] == pytest.approx(0, abs=1e-6) and scores["D-SSIM11"] > 0


def test_nothing_found_is_as_far_off_as_the_grid_is_wide() -> None:
    nothing = np.stack([np.zeros((24, 24, 24)), np.full((24, 24, 24), 5.0)])
    assert score_whole_bone(ball(15), nothing, SPACING)["RMSD_mm"] == pytest.approx(48 * math.sqrt(3))


def cases(rmse: float) -> list[CaseScores]:
    metrics = score_whole_bone(ball(15), ball(15), SPACING)
    return [
        CaseScores(case=f"c{i}", subject=f"s{i}", metrics={q: metrics | {"RMSE": rmse} for q in MASKINGS})
        for i in range(3)
    ]


def test_the_table_has_a_block_a_registration_for_both_questions() -> None:
    scores = {"3d_vae_ags": cases(0.02), "3d_vae": cases(0.01), "3d_pca16_ags": cases(0.03)}
    after = {"3d_vae_ags": "3d_ags", "3d_vae": "3d_stn_robust", "3d_pca16_ags": "3d_ags"}
    rows = whole_bone_rows(scores)
    lines = whole_bone_table(rows, after).splitlines()
    titled = [line.split(" | ")[:2] for line in lines if line.startswith("| 3d")]
    block = [["| 3d_ags", "3d_vae_ags"], ["| 3d_ags", "3d_pca16_ags"], ["| 3d_stn_robust", "3d_vae"]]
    assert titled == 2 * block
    assert "nothing hidden" in lines[1] and "3 patients" in lines[-1]
    assert next(line for line in lines if " 3d_vae |" in line).endswith(
        "| 1.00 (1.00 to 1.00) | 0.00 (0.00 to 0.00) |"
    )
