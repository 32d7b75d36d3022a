"""Normalisation by hand."""

import numpy as np
import pytest

from kneeformer.config import Normalisation
from kneeformer.transforms.normalise import normalise

ZSCORE, UNIT, NONE = (Normalisation(kind=k) for k in ("zscore", "unit", "none"))
CT = Normalisation(kind="ct", lower=-100, upper=300, mean=50, deviation=25)


def channel(*values: float, dtype: type = np.float32) -> np.ndarray:
    return np.array(values, dtype).reshape(1, 1, 1, -1)


def test_zscore() -> None:
    assert normalise(channel(1, 3), (ZSCORE,)).ravel().tolist() == [-1, 1]
    rng = np.random.default_rng(0)
    result = normalise(rng.uniform(100, 900, (1, 8, 9, 10)).astype(np.uint16), (ZSCORE,))
    assert abs(result.mean()) < 1e-5 and result.std() == pytest.approx(1, abs=1e-5)


def test_ct_clips_and_scales_by_the_dataset() -> None:
    result = normalise(channel(-1024, -100, 50, 75, 300, 3071, dtype=np.int16), (CT,))
    assert result.ravel().tolist() == [-6, -6, 0, 1, 10, 10]


def test_unit_and_none() -> None:
    assert normalise(channel(2, 4, 10), (UNIT,)).ravel().tolist() == [0, 0.25, 1]
    assert normalise(channel(2, 4, 10), (NONE,)).ravel().tolist() == [2, 4, 10]


@pytest.mark.parametrize("settings", [ZSCORE, UNIT])
def test_a_constant_channel_is_zero_and_finite(settings: Normalisation) -> None:
    assert normalise(channel(7, 7, 7), (settings,)).ravel().tolist() == [0, 0, 0]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float64, np.float32])
def test_any_dtype_comes_out_as_float32_and_the_input_is_left_alone(dtype: type) -> None:
    image = np.concatenate([channel(0, 50, 200, dtype=dtype)] * 4)
    before = image.copy()
    result = normalise(image, (ZSCORE, CT, UNIT, NONE))
    assert result.dtype == np.float32 and result.shape == image.shape
    assert np.array_equal(image, before)
    assert np.allclose(result[2].ravel(), [0, 0.25, 1]) and np.allclose(result[1].ravel(), [-2, 0, 6])


def test_a_setting_for_each_channel() -> None:
    with pytest.raises(ValueError, match="zip"):
        normalise(np.ones((2, 1, 1, 1)), (ZSCORE,))


@pytest.mark.parametrize("settings", [ZSCORE, UNIT, NONE, CT], ids=lambda s: str(s.kind))
@pytest.mark.parametrize("value", [-32768.0, 1e20, -3.4e38])
def test_outliers_change_no_other_voxel(settings: Normalisation, value: float) -> None:
    rng = np.random.default_rng(0)
    clean = rng.gamma(4, 1000, (1, 20, 64, 64)).astype(np.float32)  # to 12 bits, with a tail
    spoilt = clean.copy()
    spoilt[0, 3, 4, 5:23] = value
    others = spoilt == clean
    found, wanted = normalise(spoilt, (settings,)), normalise(clean, (settings,))
    assert np.abs(found - wanted)[others].max() <= 1e-3 * max(1.0, np.ptp(wanted))
    assert wanted.min() - 1e-3 * np.ptp(wanted) <= found.min() and np.isfinite(found).all()


def test_an_image_that_is_nearly_all_background_is_normalised_by_what_is_not_outlying() -> None:
    rng = np.random.default_rng(0)
    clean = np.zeros((1, 20, 64, 64), np.float32)
    clean[0, 5, 5, :35] = rng.uniform(50, 100, 35)
    spoilt = clean.copy()
    spoilt[0, 3, 4, 5:23] = -3.4e38
    found, wanted = normalise(spoilt, (ZSCORE,)), normalise(clean, (ZSCORE,))
    assert np.allclose(found[spoilt == clean], wanted[spoilt == clean], rtol=1e-3)


@pytest.mark.parametrize("settings", [ZSCORE, UNIT], ids=lambda s: str(s.kind))
@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e25])
def test_the_unit_of_the_scan_does_not_matter(settings: Normalisation, scale: float) -> None:
    clean = np.random.default_rng(0).gamma(4, 100, (1, 8, 30, 30))
    found, wanted = normalise(clean * scale, (settings,)), normalise(clean, (settings,))
    assert np.allclose(found, wanted, atol=1e-5)
