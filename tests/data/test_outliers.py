"""Outliers by hand, and on images made by chance."""

import numpy as np
import pytest

from kneeformer.data.outliers import hounsfield_fault, intensity_warnings, outlier_limits, outlier_warning


def image(seed: int = 0) -> np.ndarray:
    """An image of 26,000 voxels as MRI has it: half of it dark, the rest to about 1,000, a few to 3,000."""
    rng = np.random.default_rng(seed)
    voxels = np.where(rng.random(26_000) < 0.5, rng.rayleigh(20, 26_000), rng.normal(500, 150, 26_000))
    voxels[:20] = rng.uniform(1000, 3000, 20)
    return voxels.reshape(20, 26, 50).clip(0).astype(np.float32)


def test_limits_are_ten_ranges_of_the_middle_away() -> None:
    limits = outlier_limits(np.arange(1001.0))  # the middle 99 % reaches from 5 to 995
    assert limits.low == pytest.approx(5 - 9900) and limits.high == pytest.approx(995 + 9900)


@pytest.mark.parametrize("seed", range(20))
def test_a_clean_image_has_none(seed: int) -> None:
    assert outlier_warning(image(seed)) is None


@pytest.mark.parametrize("value", [-32768, 1e20, -3.4e38, 3e38])
def test_a_few_voxels_far_outside_are_told_with_number_and_value(value: float) -> None:
    voxels = image()
    voxels[3, 4, 5:23] = value
    warning = outlier_warning(voxels)
    assert warning is not None and warning.startswith(f"18 voxels (0.07%) lie at {np.float32(value):g}, far")


@pytest.mark.parametrize("share", [0.01, 0.3, 0.8])
def test_a_value_around_the_field_of_view_is_padding(share: float) -> None:
    voxels = image()
    voxels[: round(share * 20) or 1] = -32768
    limits = outlier_limits(voxels)
    assert -32768 < limits.low < 0 and 3000 < limits.high < 20_000


def test_a_constant_image_but_for_a_few_voxels_has_limits() -> None:
    voxels = np.zeros((10, 10, 10))
    voxels[0, 0, :3] = 5
    assert outlier_limits(voxels).within(voxels) is None


def ct() -> np.ndarray:
    rng = np.random.default_rng(0)
    voxels = np.full((20, 20, 20), -1000.0)
    voxels[5:15] = rng.normal(40, 20, (10, 20, 20))
    voxels[8:12, 8:12] = rng.normal(700, 200, (4, 4, 20))
    return voxels


def test_hounsfield_units_are_known_by_their_air() -> None:
    assert hounsfield_fault(ct()) is None
    padded = ct()
    padded[:, 0] = -3024
    assert hounsfield_fault(padded) is None
    assert "none below 0" in (hounsfield_fault(ct() + 1024) or "")
    scaled = (ct() + 1000) / 3000
    assert "the scan is scaled" in (hounsfield_fault(scaled) or "")
    assert "the scan is scaled" in (hounsfield_fault((scaled * 255).astype(np.uint8)) or "")


def test_only_a_channel_called_ct_is_to_be_in_hounsfield_units() -> None:
    assert len(intensity_warnings(ct() + 1024, "CT")) == 1
    assert intensity_warnings(ct() + 1024, "PDFS") == []
