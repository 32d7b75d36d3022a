"""Resampling: what a kernel leaves exact, and labels that neither move nor mix."""

import numpy as np
import pytest

from kneeformer.transforms.resample import Kernel, resample_image, resample_labels, weights

SIZES = [(1, 1), (1, 5), (2, 3), (5, 5), (7, 14), (8, 4), (10, 3), (9, 1), (31, 47), (64, 17), (100, 99)]


@pytest.mark.parametrize("kernel", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize(("old", "new"), SIZES)
def test_rows_sum_to_one(old: int, new: int, kernel: Kernel) -> None:
    matrix = weights(old, new, kernel)
    assert matrix.shape == (new, old) and matrix.dtype == np.float32
    assert np.allclose(matrix.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("kernel", ["nearest", "linear", "cubic"])
def test_the_same_size_is_the_identity(kernel: Kernel) -> None:
    assert np.allclose(weights(6, 6, kernel).toarray(), np.eye(6), atol=1e-6)


@pytest.mark.parametrize("kernel", ["linear", "cubic"])
@pytest.mark.parametrize(("old", "new"), SIZES)
def test_a_mirrored_signal_gives_the_mirrored_result(old: int, new: int, kernel: Kernel) -> None:
    matrix = weights(old, new, kernel).toarray()
    assert np.allclose(matrix, matrix[::-1, ::-1], atol=1e-6)


def test_linear_weights_by_hand() -> None:
    # new centres lie at -0.25, 0.25, 0.75, 1.25 old voxels; beyond the edge the border is repeated
    expected = [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]
    assert np.allclose(weights(2, 4, "linear").toarray(), expected)
    # halving: a triangle four voxels wide on 0 1 2 3, centred on 0.5: 1/8, 3/8, 3/8, 1/8, voxel -1 is voxel 0
    assert np.allclose(weights(4, 2, "linear").toarray()[0], [1 / 8 + 3 / 8, 3 / 8, 1 / 8, 0])


def test_cubic_weights_by_hand() -> None:
    # Keys 1981 at a quarter of the way: -9/128, 111/128, 29/128, -3/128
    row = weights(8, 16, "cubic").toarray()[7]  # centre at 3.25
    assert np.allclose(row[2:6], np.array([-9, 111, 29, -3]) / 128) and np.count_nonzero(row) == 4


def test_nearest_by_hand() -> None:
    assert weights(3, 6, "nearest").toarray().argmax(1).tolist() == [0, 0, 1, 1, 2, 2]
    assert weights(6, 2, "nearest").toarray().argmax(1).tolist() == [1, 4]
    assert weights(5, 3, "nearest").toarray().argmax(1).tolist() == [0, 2, 4]


@pytest.mark.parametrize("thick_axis", [None, 0, 2])
def test_constants_stay(thick_axis: int | None) -> None:
    image = np.stack([np.full((5, 9, 7), v, np.float32) for v in (3.0, -800.0)])
    for shape in ((5, 9, 7), (11, 4, 9), (1, 20, 3)):
        resampled = resample_image(image, shape, thick_axis)
        assert resampled.shape == (2, *shape) and resampled.dtype == np.float32
        assert np.allclose(resampled, np.array([3.0, -800.0]).reshape(2, 1, 1, 1), rtol=1e-5)


@pytest.mark.parametrize("kernel", ["linear", "cubic"])
@pytest.mark.parametrize(("old", "new"), [(20, 40), (20, 33), (20, 57), (40, 20), (60, 20)])
def test_a_ramp_is_exact_inside(old: int, new: int, kernel: Kernel) -> None:
    centres = (np.arange(new) + 0.5) * old / new - 0.5  # new voxels in old coordinates
    resampled = weights(old, new, kernel) @ (3 * np.arange(old, dtype=np.float32) - 7)
    reach = (2 if kernel == "cubic" else 1) * max(1, old / new)
    inside = (centres >= reach) & (centres <= old - 1 - reach)
    assert inside.sum() > new / 2
    assert np.allclose(resampled[inside], 3 * centres[inside] - 7, atol=1e-4)


def test_cubic_keeps_a_parabola_too() -> None:
    centres = (np.arange(50) + 0.5) * 20 / 50 - 0.5
    resampled = weights(20, 50, "cubic") @ np.arange(20, dtype=np.float32) ** 2
    inside = (centres > 2) & (centres < 17)
    assert np.allclose(resampled[inside], centres[inside] ** 2, atol=1e-3)


def test_a_ramp_along_each_axis_of_a_volume() -> None:
    z, y, x = np.meshgrid(np.arange(8.0), np.arange(12.0), np.arange(10.0), indexing="ij")
    image = (z + 10 * y + 100 * x).astype(np.float32)[None]
    fine = resample_image(image, (16, 12, 20), thick_axis=0)
    inside = np.s_[0, 4:12, :, 6:14]
    z, x = (np.arange(4, 12) + 0.5) / 2 - 0.5, (np.arange(6, 14) + 0.5) / 2 - 0.5
    expected = z[:, None, None] + 10 * np.arange(12)[:, None] + 100 * x
    assert np.allclose(fine[inside], expected, atol=1e-2)


@pytest.mark.parametrize("thick_axis", [None, 0])
def test_up_then_down_gives_a_smooth_image_back(thick_axis: int | None) -> None:
    z, y, x = np.meshgrid(*[np.linspace(0, 2 * np.pi, n) for n in (12, 30, 30)], indexing="ij")
    image = (np.sin(z) + np.cos(y) * np.sin(x)).astype(np.float32)[None]
    back = resample_image(resample_image(image, (12, 60, 60), thick_axis), (12, 30, 30), thick_axis)
    assert np.abs(back - image)[:, 3:-3, 3:-3, 3:-3].max() < 0.02


def test_what_the_coarse_grid_cannot_hold_is_averaged_not_aliased() -> None:
    stripes = np.tile([0.0, 1.0], 30).astype(np.float32)
    coarse = weights(60, 12, "cubic") @ stripes
    assert np.abs(coarse[2:-2] - 0.5).max() < 0.06


def test_the_channels_do_not_touch() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(2, 5, 6, 7)).astype(np.float32)
    together = resample_image(image, (7, 4, 9), None)
    assert np.array_equal(together[1], resample_image(image[1:], (7, 4, 9), None)[0])


@pytest.mark.parametrize("thick_axis", [None, 0, 1])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_labels_get_no_new_values(dtype: type, thick_axis: int | None) -> None:
    labels = np.random.default_rng(0).choice(np.array([0, 1, 7, 200], dtype), (6, 9, 8))
    for shape in ((6, 9, 8), (12, 18, 16), (4, 5, 6), (7, 20, 3)):
        resampled = resample_labels(labels, shape, thick_axis)
        assert resampled.dtype == dtype and resampled.shape == shape
        assert set(np.unique(resampled)) <= {0, 1, 7, 200}


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("new", [5, 7, 11, 20, 33, 46])
def test_a_half_space_moves_by_less_than_half_a_voxel(axis: int, new: int) -> None:
    old = 20
    for edge in range(2, old - 1):
        labels = np.zeros((old, old, old), np.uint8)
        np.moveaxis(labels, axis, 0)[edge:] = 3
        shape = [old, old, old]
        shape[axis] = new
        moved = np.moveaxis(resample_labels(labels, (shape[0], shape[1], shape[2]), None), axis, 0)
        profile = moved[:, 3, 3]
        assert (moved == profile[:, None, None]).all() and (np.diff(profile.astype(int)) >= 0).all()
        found = np.count_nonzero(profile == 0) * old / new  # where the border now is, in old voxels
        assert abs(found - edge) <= 0.5 * max(1, old / new) + 1e-6


def test_volumes_of_structures_survive() -> None:
    z, y, x = np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in (40, 40, 40)], indexing="ij")
    radius = np.sqrt(z**2 + y**2 + x**2)
    labels = np.select([radius < 8, radius < 15], [2, 1]).astype(np.uint8)
    for shape in ((80, 40, 40), (30, 60, 50), (25, 25, 25)):
        resampled = resample_labels(labels, shape, None)
        voxel = 40**3 / np.prod(shape)
        for value in (1, 2):
            assert (resampled == value).sum() * voxel == pytest.approx((labels == value).sum(), rel=0.05)


def test_where_three_labels_meet_no_background_leaks_in() -> None:
    labels = np.ones((2, 12, 12), np.uint8)
    labels[:, 6:, :6], labels[:, 6:, 6:] = 2, 3
    assert 0 not in resample_labels(labels, (2, 31, 31), None)


def test_the_thick_axis_takes_the_nearest_slice() -> None:
    labels = np.stack([np.full((4, 4), v, np.uint8) for v in (0, 5, 0, 7)])
    resampled = resample_labels(labels, (8, 4, 4), thick_axis=0)
    assert resampled[:, 0, 0].tolist() == [0, 0, 5, 5, 0, 0, 7, 7]
    assert resample_labels(labels, (2, 8, 8), thick_axis=0)[:, 0, 0].tolist() == [5, 7]
