"""Outliers by hand, and on images made by chance."""

import numpy as np
import pytest

from kneeformer.data.outliers import evenly_sampled, filled_box, outlier_limits, outlier_warnings
from kneeformer.geometry.aliases import Size


def image(brightest: float = 1000.0, seed: int = 0) -> np.ndarray:
    """26,000 voxels as MRI has them: half dark, the rest to about `brightest`, a few to three times."""
    rng = np.random.default_rng(seed)
    dark, tissue = rng.rayleigh(0.02, 26_000), rng.normal(0.5, 0.15, 26_000)
    voxels = np.where(rng.random(26_000) < 0.5, dark, tissue)
    voxels[:20] = rng.uniform(1, 3, 20)
    return (voxels.reshape(20, 26, 50).clip(0) * brightest).astype(np.float32)


def test_limits_are_three_ranges_of_the_middle_below_and_five_above() -> None:
    limits = outlier_limits(np.arange(1003.0) - 1001)  # without its ends; the middle 99 % is -995 to -5
    assert limits.low == pytest.approx(-995 - 3 * 990) and limits.high == pytest.approx(-5 + 5 * 990)


@pytest.mark.parametrize("seed", range(20))
def test_a_clean_image_has_none(seed: int) -> None:
    assert outlier_warnings(image(seed=seed)) == []


def test_background_of_zeros_is_no_outlier_of_a_narrow_foreground() -> None:
    voxels = np.random.default_rng(0).normal(1000, 5, (10, 20, 20))
    voxels[:5] = 0
    assert outlier_warnings(voxels) == []


@pytest.mark.parametrize("brightest", [100, 1000, 4000])
@pytest.mark.parametrize("value", [-32768, 65535, 1e20, -3.4e38, 3e38])
def test_a_few_voxels_far_outside_are_told_with_number_and_value(brightest: float, value: float) -> None:
    voxels = image(brightest)
    voxels[3, 4, 5:23] = value
    (warning,) = outlier_warnings(voxels)
    assert warning.startswith(
        f"18 voxels (0.069 %) lie at {np.float32(value):g}, far outside the others (0 to"
    )


@pytest.mark.parametrize("share", [0.01, 0.3, 0.8])
def test_a_value_around_the_field_of_view_is_padding(share: float) -> None:
    voxels = image()
    padded = voxels.copy()
    padded[: round(share * 20) or 1] = -32768
    limits = outlier_limits(padded)
    assert limits.low == pytest.approx(outlier_limits(voxels).low, rel=0.2)
    padded[-1] = 32767  # at both ends
    assert outlier_limits(padded).high == pytest.approx(outlier_limits(voxels).high, rel=0.2)


def test_slices_of_zeros_are_no_outliers() -> None:
    voxels = image()
    voxels[5:8] = 0
    assert outlier_warnings(voxels) == []


@pytest.mark.parametrize("outlying", [[], [-3.4e38] * 18])
def test_of_a_nearly_constant_image_limits_are_those_of_what_differs(outlying: list[float]) -> None:
    voxels = np.zeros(100_000)
    voxels[:35], voxels[50 : 50 + len(outlying)] = np.linspace(50, 100, 35), outlying
    limits = outlier_limits(voxels)
    assert -400 < limits.low <= 0 and 100 < limits.high < 700
    share = f"{35 + len(outlying)} voxels ({(35 + len(outlying)) / 1000:.2g} %)"
    said = outlier_warnings(voxels)[-1]
    assert said == f"all but {share} are 0: see whether this is the right image"


@pytest.mark.parametrize(("values", "told"), [(2, True), (12, True), (13, False), (1, False)])
def test_an_image_of_few_values_may_be_a_label_map(values: int, told: bool) -> None:
    voxels = np.arange(6000).reshape(10, 20, 30) % values
    said = f"holds {values} different values, as a label map does: see whether this is the right image"
    assert outlier_warnings(voxels.astype(np.uint8)) == [said] * told


def test_a_constant_image_has_no_limits() -> None:
    assert outlier_limits(np.full((3, 4, 5), 7)).within(np.full((3, 4, 5), 7)) is None


@pytest.mark.parametrize("shape", [(98, 512, 512), (313, 320, 320), (7, 8, 9)])
def test_a_sample_is_from_all_columns_alike(shape: Size) -> None:
    columns = np.broadcast_to(np.arange(shape[2], dtype=np.int16), shape)
    counts = np.bincount(evenly_sampled(columns).astype(int), minlength=shape[2])
    assert counts.max() - counts.min() <= max(1, 0.2 * counts.mean())


def test_unsigned_numbers_stored_as_signed_ones_are_told() -> None:
    voxels = image(60_000).clip(0, 65535).astype(np.uint16)
    assert outlier_warnings(voxels) == []
    (warning,) = outlier_warnings(voxels.view(np.int16))
    assert "all that int16 holds: unsigned numbers stored as signed ones?" in warning


def test_a_few_voxels_at_both_ends_of_int16_are_outliers_and_no_wrong_sign() -> None:
    voxels = image().astype(np.int16)
    voxels[3, 4, 5:10], voxels[3, 4, 10:15] = -32768, 32767
    (warning,) = outlier_warnings(voxels)
    assert warning.startswith("10 voxels (0.038 %) lie between -32768 and 32767, far outside")


def test_outliers_fill_no_box() -> None:
    voxels = np.zeros((1, 6, 10, 12), np.float32)
    voxels[0, 1:4, 2:8, 3:11] = np.random.default_rng(0).uniform(1, 2, (3, 6, 8))
    voxels[0, 0, 0, 0], voxels[0, 5, 9, 11] = -32768, 1e20
    assert filled_box(voxels) == ((1, 4), (2, 8), (3, 11))
    labels = np.zeros((6, 10, 12), np.uint8)
    labels[0, 0, 0] = 1
    assert filled_box(voxels, labels) == ((0, 4), (0, 8), (0, 11))
