"""A ball for a bone, half of it hidden, and what is known of its scores."""

import math

import numpy as np
import pytest

from kneeformer.geometry.grid import Grid
from kneeformer.metrics.overlap import count, dice
from kneeformer.metrics.shape_completion import (
    PARTS,
    BoneVolume,
    boundary_dice,
    score_completion,
    similarity_map,
)
from kneeformer.metrics.surface_distance import surface_distances

GRID = Grid((32, 36, 40), (1.0, 0.8, 0.9), (-100.0, 50.0, 20.0))
COMMON = {"D-SSIM3", "D-SSIM7", "D-SSIM11", "SSIM11", "D-SSIM15", "PSNR", "RMSE", "RMSD_mm"}
PERFECT = {**dict.fromkeys(COMMON, 0.0), "SSIM11": 1.0, "PSNR": 100.0}
EMPTY = np.zeros(GRID.shape, bool)


def ball(radius_mm: float) -> np.ndarray:
    z, y, x = ((np.arange(n) - n // 2) * edge for n, edge in zip(GRID.shape, GRID.spacing, strict=True))
    return np.asarray(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2 < radius_mm**2)


def bone(mask: np.ndarray, value: float = 0.6) -> BoneVolume:
    texture = np.random.default_rng(0).uniform(-0.1, 0.1, mask.shape)
    return BoneVolume(np.where(mask, value + texture, 0.1).astype(np.float32), mask)


def upper() -> np.ndarray:
    region = EMPTY.copy()
    region[18:] = True
    return region


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


def test_equal_bones_are_perfect_in_every_part() -> None:
    scores = score_completion(bone(ball(10)), bone(ball(10)), upper(), GRID)
    assert tuple(scores) == PARTS
    assert set(scores["region"]) == COMMON | {"Dice", "BoundaryDice", "HD95_mm", "ASSD_mm"}
    for part in PARTS:
        assert {m: scores[part][m] for m in COMMON} == pytest.approx(PERFECT, abs=1e-9)
    assert scores["region"]["Dice"] == scores["region"]["BoundaryDice"] == 1
    assert scores["region"]["HD95_mm"] == scores["region"]["ASSD_mm"] == 0


def test_a_constant_offset_by_hand() -> None:
    """No variance: SSIM is (2ab + c1) / (a2 + b2 + c1) with c1 = 1e-4, in whatever window."""
    mask = ball(10)
    first, second = (BoneVolume(np.full(GRID.shape, v), mask) for v in (0.2, 0.8))
    scores = score_completion(first, second, ~EMPTY, GRID)
    ssim = (2 * 0.16 + 1e-4) / (0.04 + 0.64 + 1e-4)
    for part in ("region", "whole", "composite"):
        assert scores[part]["RMSE"] == pytest.approx(0.6)
        assert scores[part]["PSNR"] == pytest.approx(-20 * math.log10(0.6))
        assert scores[part]["SSIM11"] == pytest.approx(ssim, abs=1e-4)
        for window in (3, 7, 11, 15):
            assert scores[part][f"D-SSIM{window}"] == pytest.approx((1 - ssim) / 2, abs=1e-4)
    assert all(math.isnan(value) for value in scores["visible"].values()), "there is nothing else"


def test_a_change_in_the_region_leaves_the_visible_part_perfect() -> None:
    """Also next to the region, where windows and surfaces see it."""
    reference, region = bone(ball(10)), upper()
    prediction = bone(ball(7), 0.5).pasted_into(reference, region)
    scores = score_completion(reference, prediction, region, GRID)
    assert scores["visible"] == pytest.approx(PERFECT, abs=1e-9)
    assert scores["whole"] == scores["composite"], "the prediction is a composite"
    assert scores["region"]["PSNR"] < scores["whole"]["PSNR"] < 100, "the whole flatters"
    assert 0 < scores["composite"]["D-SSIM7"] < scores["region"]["D-SSIM7"]
    assert scores["region"]["Dice"] < 1


def test_a_change_outside_leaves_region_and_composite_perfect() -> None:
    reference, region = bone(ball(10)), upper()
    prediction = reference.pasted_into(bone(ball(7), 0.5), region)
    scores = score_completion(reference, prediction, region, GRID)
    for part in ("region", "composite"):
        assert {m: scores[part][m] for m in COMMON} == pytest.approx(PERFECT, abs=1e-9)
    assert scores["visible"]["RMSE"] > scores["whole"]["RMSE"] > 0
    assert scores["visible"]["RMSD_mm"] > 1 and scores["region"]["HD95_mm"] == 0


def test_the_composite_is_the_prediction_inside_and_the_reference_outside() -> None:
    reference, prediction, region = bone(ball(10), 0.6), bone(ball(8), 0.4), upper()
    composite = prediction.pasted_into(reference, region)
    np.testing.assert_array_equal(composite.ct[region], prediction.ct[region])
    np.testing.assert_array_equal(composite.ct[~region], reference.ct[~region])
    np.testing.assert_array_equal(composite.mask[~region], reference.mask[~region])
    scores = score_completion(reference, prediction, region, GRID)
    pasted = score_completion(reference, composite, region, GRID)
    assert scores["composite"] == pasted["whole"] and scores["region"] == pasted["region"]


def test_the_surface_is_off_by_the_difference_of_radii() -> None:
    scores = score_completion(bone(ball(12)), bone(ball(10)), upper(), GRID)
    assert scores["whole"]["RMSD_mm"] == pytest.approx(2, abs=0.15)
    # Less than two near the border: the nearest place of the other surface is the step there.
    assert 1.5 < scores["region"]["RMSD_mm"] < 2.1
    assert scores["composite"]["RMSD_mm"] < scores["region"]["RMSD_mm"]


def test_errors_by_hand_in_one_voxel() -> None:
    """A change of 0.5 in one of the region's eight voxels."""
    reference, region = bone(ball(10)), EMPTY.copy()
    region[16:18, 18:20, 20:22] = True
    changed = reference.ct.copy()
    changed[16, 18, 20] += 0.5
    scores = score_completion(reference, BoneVolume(changed, reference.mask), region, GRID)
    assert scores["region"]["RMSE"] == pytest.approx(0.5 / math.sqrt(8), rel=1e-6)
    assert scores["region"]["PSNR"] == pytest.approx(10 * math.log10(8 / 0.25), rel=1e-6)
    assert scores["whole"]["RMSE"] == pytest.approx(0.5 / math.sqrt(changed.size), rel=1e-6)
    assert math.isnan(scores["region"]["RMSD_mm"]), "no surface passes through it"


def test_masks_are_compared_in_the_region() -> None:
    reference, prediction, region = ball(10), ball(8), upper()
    scores = score_completion(bone(reference), bone(prediction), region, GRID)["region"]
    here, there = reference & region, prediction & region
    assert scores["Dice"] == dice(count(here, there))
    assert (scores["HD95_mm"], scores["ASSD_mm"]) == surface_distances(here, there, GRID.spacing)


def test_boundary_dice_by_hand() -> None:
    """Slabs of 1 mm slices, 0 to 9 and 0 to 11; the region lies inside them but for the sides, from 4 on.

    Their boundaries there are slices 9 and 11, so that 7 to 13 count: 7 to 9 against 7 to 11.
    """
    first, second, region = np.zeros((3, 20, 5, 5), bool)
    first[:10], second[:12], region[4:, 1:-1, 1:-1] = True, True, True
    spacing = (1.0, 100.0, 100.0)
    assert boundary_dice(first, second, region, spacing) == pytest.approx(2 * 3 / (3 + 5))
    assert boundary_dice(second, first, region, spacing) == pytest.approx(2 * 3 / (3 + 5))
    region[:14] = False
    assert math.isnan(boundary_dice(first, second, region, spacing)), "nothing is near"
    assert math.isnan(boundary_dice(first, second, np.zeros_like(region), spacing))


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


def test_empty_masks_and_parts() -> None:
    found, nothing, region = bone(ball(10)), bone(EMPTY), upper()
    worst = math.hypot(*(n * edge for n, edge in zip(GRID.shape, GRID.spacing, strict=True)))
    missed = score_completion(found, nothing, region, GRID)
    assert missed["whole"]["RMSD_mm"] == pytest.approx(worst)
    assert missed["region"]["RMSD_mm"] < worst, "the visible bone is pasted in"
    assert missed["region"]["Dice"] == missed["region"]["BoundaryDice"] == 0
    assert missed["region"]["HD95_mm"] == pytest.approx(worst)
    neither = score_completion(nothing, nothing, region, GRID)
    for part in PARTS:
        assert math.isnan(neither[part]["RMSD_mm"]) and neither[part]["PSNR"] == 100
    assert all(math.isnan(neither["region"][m]) for m in ("Dice", "BoundaryDice", "HD95_mm", "ASSD_mm"))
    asked_nothing = score_completion(found, nothing, EMPTY, GRID)
    assert all(math.isnan(value) for value in asked_nothing["region"].values())
    assert asked_nothing["composite"] == pytest.approx(PERFECT, abs=1e-9)


def test_the_grid_may_be_mirrored() -> None:
    mirrored = Grid(GRID.shape, GRID.spacing, GRID.origin, (-1, 0, 0, 0, 1, 0, 0, 0, 1))
    arguments = bone(ball(12)), bone(ball(10)), upper()
    straight, other = (score_completion(*arguments, geometry) for geometry in (GRID, mirrored))
    for part in PARTS:
        assert other[part] == pytest.approx(straight[part], rel=0.02)


def test_refuses_what_does_not_fit() -> None:
    whole, region = bone(ball(10)), upper()
    with pytest.raises(ValueError, match="differ in shape"):
        score_completion(whole, BoneVolume(whole.ct, whole.mask[1:]), region, GRID)
    with pytest.raises(ValueError, match="must be boolean"):
        score_completion(whole, whole, region.astype(np.uint8), GRID)
    with pytest.raises(ValueError, match="volumes of shape"):
        score_completion(whole, BoneVolume(whole.ct[1:], whole.mask), region, GRID)
