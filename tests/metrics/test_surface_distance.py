import itertools
import math
import time

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from kneeformer.metrics.surface_distance import diagonal_mm, surface_distances, surface_voxels

SPACING = (3.0, 0.5, 0.7)


def blobs(seed: int, shape: tuple[int, ...] = (5, 9, 8)) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.random.default_rng(seed).random((2, *shape)) < 0.15 + 0.1 * (seed % 7)
    return first, second


def voxel(*index: int, shape: tuple[int, ...] = (8, 8, 8)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[index] = True
    return mask


def brute_force(a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...]) -> tuple[float, float]:
    """The definition, over all pairs of surface voxels, the surface found voxel by voxel."""
    at = [np.array([p for p in np.argwhere(m) if on_surface(m, p)]) * spacing for m in (a, b)]
    pairs = cdist(*at)
    forth, back = pairs.min(axis=1), pairs.min(axis=0)
    hd95 = max(np.percentile(forth, 95), np.percentile(back, 95))
    return hd95, (forth.sum() + back.sum()) / (len(forth) + len(back))


def on_surface(mask: np.ndarray, point: np.ndarray) -> bool:
    steps = [sign * row for row in np.eye(mask.ndim, dtype=int) for sign in (-1, 1)]
    around = [point + step for step in steps]
    return any((p < 0).any() or (p >= mask.shape).any() or not mask[tuple(p)] for p in around)


def test_single_voxels_three_four_five():
    a, b = voxel(1, 1, 1), voxel(1, 4, 5)
    assert surface_distances(a, b, (1, 1, 1)) == (5, 5)
    assert surface_distances(a, b, (9, 0.5, 0.5)) == (2.5, 2.5)
    assert surface_distances(voxel(0, 0, 0), voxel(1, 4, 0), (3, 1, 1)) == (5, 5)


def test_slabs_one_thick_slice_apart():
    a, b = np.zeros((2, 6, 4, 4), bool)
    a[1], b[2] = True, True
    assert surface_distances(a, b, (3.0, 0.5, 0.5)) == (3, 3)


def test_hd95_is_the_worse_direction_and_assd_pools_both():
    # Reference: one voxel. Prediction: the same voxel and one 8 away.
    a, b = voxel(0, shape=(9,)), voxel(0, shape=(9,)) | voxel(8, shape=(9,))
    result = surface_distances(a, b, (1.0,))
    assert result.hd95 == pytest.approx(0.95 * 8)  # P95 of {0, 8}, interpolated; the other way 0
    assert result.assd == pytest.approx(8 / 3)  # (0 + 0 + 8) / 3


def test_the_surface_is_the_boundary_by_faces():
    mask = np.ones((4, 4, 4), bool)
    assert np.count_nonzero(surface_voxels(mask)) == 64 - 8
    mask = np.ones((5, 5, 5), bool)
    mask[0, 0, 0] = False  # its diagonal neighbour (1, 1, 1) shares no face with it
    assert not surface_voxels(mask)[1, 1, 1]
    assert np.count_nonzero(surface_voxels(np.pad(mask, 2))) == np.count_nonzero(surface_voxels(mask))


@pytest.mark.parametrize("seed", range(14))
def test_agrees_with_all_pairs(seed: int):
    a, b = blobs(seed)
    assert surface_distances(a, b, SPACING) == pytest.approx(brute_force(a, b, SPACING))


def test_agrees_with_all_pairs_on_solid_bodies():
    z, y, x = np.ogrid[:12, :24, :24]
    a = ((z - 5) * 3) ** 2 + (y - 10) ** 2 + (x - 11) ** 2 < 81
    b = ((z - 6) * 3) ** 2 + (y - 13) ** 2 + (x - 11) ** 2 < 64
    assert surface_distances(a, b, (3.0, 1.0, 1.0)) == pytest.approx(brute_force(a, b, (3.0, 1.0, 1.0)))


def test_invariances():
    a, b = blobs(3)
    expected = pytest.approx(surface_distances(a, b, SPACING))
    assert surface_distances(b, a, SPACING) == expected
    assert surface_distances(a[:, ::-1], b[:, ::-1], SPACING) == expected
    assert surface_distances(np.pad(a, 3), np.pad(b, 3), SPACING) == expected
    for axes in itertools.permutations(range(3)):
        spacing = [SPACING[axis] for axis in axes]
        assert surface_distances(a.transpose(axes), b.transpose(axes), spacing) == expected


def test_distances_scale_with_spacing_and_vanish_on_identity():
    a, b = blobs(4)
    once = surface_distances(a, b, SPACING)
    assert surface_distances(a, b, [2 * s for s in SPACING]) == pytest.approx([2 * d for d in once])
    assert surface_distances(a, a, SPACING) == (0, 0)


def test_empty_masks():
    empty, found = np.zeros((8, 8, 8), bool), voxel(1, 2, 3)
    assert all(math.isnan(d) for d in surface_distances(empty, empty, SPACING))
    worst = math.hypot(24.0, 4.0, 5.6)
    assert surface_distances(empty, found, SPACING) == pytest.approx((worst, worst))
    assert surface_distances(found, empty, SPACING) == pytest.approx((worst, worst))


def test_no_wrong_answer_is_worse_than_no_answer():
    opposite = surface_distances(voxel(0, 0, 0), voxel(7, 7, 7), SPACING)
    assert opposite.hd95 < diagonal_mm((8, 8, 8), SPACING)
    assert diagonal_mm((240, 240, 155), (1, 1, 1)) == pytest.approx(373.1287, abs=1e-4)


def test_refuses_spacings_that_do_not_match():
    with pytest.raises(ValueError, match="2 spacings for 3 axes"):
        surface_distances(*blobs(0), (1.0, 1.0))


def test_a_femur_in_a_whole_knee_is_quick():
    z, y, x = np.ogrid[:36, :320, :320]
    a = ((z - 18) * 3.1 / 45) ** 2 + ((y - 120) * 0.44 / 40) ** 2 + ((x - 160) * 0.44 / 40) ** 2 < 1
    b = np.roll(a, (1, 4, -3), (0, 1, 2))
    start = time.process_time()
    result = surface_distances(a, b, (3.1, 0.44, 0.44))
    assert time.process_time() - start < 1.5  # 0.2 s; slack for a busy machine
    assert 0 < result.assd < result.hd95 < 5
