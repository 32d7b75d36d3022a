"""A ball for a bone, half of it hidden, and what is known of its scores."""

import math

import numpy as np
import pytest

from kneeformer.geometry.grid import Grid
from kneeformer.metrics.overlap import DICE, count, dice
from kneeformer.metrics.shape_completion import (
    BOUNDARY_DICE,
    COMPOSITE,
    D_SSIM,
    HIDDEN,
    PSNR,
    RMSD,
    RMSE,
    BoneVolume,
    boundary_dice,
    intensity_metrics,
    score_completion,
)
from kneeformer.metrics.surface_distance import ASSD, HD95, surface_distances

pytestmark = pytest.mark.slow

GRID = Grid((32, 36, 40), (1.0, 0.8, 0.9), (-100.0, 50.0, 20.0))
PERFECT = {RMSD: 0.0, PSNR: 100.0, RMSE: 0.0, **dict.fromkeys(D_SSIM.values(), 0.0)}
REGIONS = (HIDDEN, COMPOSITE)
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


def test_equal_bones_are_perfect_in_every_region() -> None:
    scores = score_completion(bone(ball(10)), bone(ball(10)), upper(), GRID)
    assert tuple(scores) == REGIONS
    for region in REGIONS:
        assert {m: scores[region][m] for m in PERFECT} == pytest.approx(PERFECT, abs=1e-9)
    assert scores[HIDDEN][DICE] == scores[HIDDEN][BOUNDARY_DICE] == 1
    assert scores[HIDDEN][HD95] == scores[HIDDEN][ASSD] == 0


def test_a_constant_offset_by_hand() -> None:
    """No variance: SSIM is (2ab + c1) / (a2 + b2 + c1) with c1 = 1e-4, in whatever window."""
    mask = ball(10)
    first, second = (BoneVolume(np.full(GRID.shape, v), mask) for v in (0.2, 0.8))
    scores = score_completion(first, second, ~EMPTY, GRID)
    ssim = (2 * 0.16 + 1e-4) / (0.04 + 0.64 + 1e-4)
    for region in REGIONS:
        assert scores[region][RMSE] == pytest.approx(0.6)
        assert scores[region][PSNR] == pytest.approx(-20 * math.log10(0.6))
        for metric in D_SSIM.values():
            assert scores[region][metric] == pytest.approx((1 - ssim) / 2, abs=1e-4)


def test_the_composite_flatters() -> None:
    reference, region = bone(ball(10)), upper()
    scores = score_completion(reference, bone(ball(7), 0.5), region, GRID)
    assert scores[HIDDEN][PSNR] < scores[COMPOSITE][PSNR] < 100
    assert 0 < scores[COMPOSITE][D_SSIM[7]] < scores[HIDDEN][D_SSIM[7]]
    assert scores[HIDDEN][DICE] < 1


def test_a_change_outside_leaves_both_regions_perfect() -> None:
    """Also next to the hidden region, where windows and surfaces see it."""
    reference, region = bone(ball(10)), upper()
    prediction = reference.pasted_into(bone(ball(7), 0.5), region)
    scores = score_completion(reference, prediction, region, GRID)
    for name in REGIONS:
        assert {m: scores[name][m] for m in PERFECT} == pytest.approx(PERFECT, abs=1e-9)
    assert scores[HIDDEN][HD95] == 0


def test_the_composite_is_the_prediction_inside_and_the_reference_outside() -> None:
    reference, prediction, region = bone(ball(10), 0.6), bone(ball(8), 0.4), upper()
    composite = prediction.pasted_into(reference, region)
    np.testing.assert_array_equal(composite.ct[region], prediction.ct[region])
    np.testing.assert_array_equal(composite.ct[~region], reference.ct[~region])
    np.testing.assert_array_equal(composite.mask[~region], reference.mask[~region])
    scores = score_completion(reference, prediction, region, GRID)
    assert scores == score_completion(reference, composite, region, GRID)
    everywhere = intensity_metrics(reference.ct, composite.ct, {COMPOSITE: ~EMPTY})[COMPOSITE]
    assert everywhere.items() < scores[COMPOSITE].items()


def test_the_surface_is_off_by_the_difference_of_radii() -> None:
    everywhere = score_completion(bone(ball(12)), bone(ball(10)), ~EMPTY, GRID)
    assert everywhere[HIDDEN][RMSD] == everywhere[COMPOSITE][RMSD] == pytest.approx(2, abs=0.15)
    scores = score_completion(bone(ball(12)), bone(ball(10)), upper(), GRID)
    # Less than two near the border: the nearest place of the other surface is the step there.
    assert 1.5 < scores[HIDDEN][RMSD] < 2.1
    assert scores[COMPOSITE][RMSD] < scores[HIDDEN][RMSD]


def test_errors_by_hand_in_one_voxel() -> None:
    """A change of 0.5 in one of the region's eight voxels."""
    reference, region = bone(ball(10)), EMPTY.copy()
    region[16:18, 18:20, 20:22] = True
    changed = reference.ct.copy()
    changed[16, 18, 20] += 0.5
    scores = score_completion(reference, BoneVolume(changed, reference.mask), region, GRID)
    assert scores[HIDDEN][RMSE] == pytest.approx(0.5 / math.sqrt(8), rel=1e-6)
    assert scores[HIDDEN][PSNR] == pytest.approx(10 * math.log10(8 / 0.25), rel=1e-6)
    assert scores[COMPOSITE][RMSE] == pytest.approx(0.5 / math.sqrt(changed.size), rel=1e-6)
    assert math.isnan(scores[HIDDEN][RMSD]), "no surface passes through it"


def test_masks_are_compared_in_the_region() -> None:
    reference, prediction, region = ball(10), ball(8), upper()
    scores = score_completion(bone(reference), bone(prediction), region, GRID)[HIDDEN]
    here, there = reference & region, prediction & region
    assert scores[DICE] == dice(count(here, there))
    assert (scores[HD95], scores[ASSD]) == surface_distances(here, there, GRID.spacing)


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


def test_empty_masks_and_regions() -> None:
    found, nothing, region = bone(ball(10)), bone(EMPTY), upper()
    worst = math.hypot(*(n * edge for n, edge in zip(GRID.shape, GRID.spacing, strict=True)))
    missed = score_completion(found, nothing, region, GRID)
    assert missed[HIDDEN][RMSD] < worst, "the visible bone is pasted in"
    assert missed[HIDDEN][DICE] == missed[HIDDEN][BOUNDARY_DICE] == 0
    assert missed[HIDDEN][HD95] == pytest.approx(worst)
    all_missed = score_completion(found, nothing, ~EMPTY, GRID)
    assert all_missed[COMPOSITE][RMSD] == pytest.approx(worst)
    neither = score_completion(nothing, nothing, region, GRID)
    for name in REGIONS:
        assert math.isnan(neither[name][RMSD]) and neither[name][PSNR] == 100
    assert all(math.isnan(neither[HIDDEN][m]) for m in (DICE, BOUNDARY_DICE, HD95, ASSD))
    asked_nothing = score_completion(found, nothing, EMPTY, GRID)
    undefined = {m for m, value in asked_nothing[HIDDEN].items() if math.isnan(value)}
    assert undefined >= {*PERFECT, DICE, BOUNDARY_DICE, HD95, ASSD}
    assert asked_nothing[COMPOSITE] == pytest.approx(PERFECT, abs=1e-9)


def test_the_grid_may_be_mirrored() -> None:
    mirrored = Grid(GRID.shape, GRID.spacing, GRID.origin, (-1, 0, 0, 0, 1, 0, 0, 0, 1))
    arguments = bone(ball(12)), bone(ball(10)), upper()
    straight, other = (score_completion(*arguments, grid) for grid in (GRID, mirrored))
    for region in REGIONS:
        assert other[region] == pytest.approx(straight[region], rel=0.02)


def test_refuses_what_does_not_fit() -> None:
    whole, region = bone(ball(10)), upper()
    with pytest.raises(ValueError, match="differ in shape"):
        score_completion(whole, BoneVolume(whole.ct, whole.mask[1:]), region, GRID)
    with pytest.raises(ValueError, match="must be boolean"):
        score_completion(whole, whole, region.astype(np.uint8), GRID)
    with pytest.raises(ValueError, match="volumes of shape"):
        score_completion(whole, BoneVolume(whole.ct[1:], whole.mask), region, GRID)
