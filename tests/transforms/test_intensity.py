"""Intensity changes keep what they promise, in any unit of intensity, and follow their generator alone."""

from collections.abc import Callable

import numpy as np
import pytest

from kneeformer.transforms import intensity

Change = Callable[..., np.ndarray]
CHANGES: list[Change] = [
    intensity.noise,
    intensity.blur,
    intensity.brightness,
    intensity.contrast,
    intensity.gamma,
    intensity.low_resolution,
]
every_change = pytest.mark.parametrize("change", CHANGES, ids=lambda c: c.__name__)


@pytest.fixture
def image() -> np.ndarray:
    """(2, 6, 24, 20) float32: two smooth channels with some noise, in different units."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:24, :20]
    smooth = np.sin(y / 4) * np.cos(x / 5) + 0.2 * rng.standard_normal((2, 6, 24, 20))
    return np.asarray(smooth * np.array([1, 300]).reshape(2, 1, 1, 1) + 2, np.float32)


def statistics(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return image.mean((1, 2, 3)), image.std((1, 2, 3))


def roughness(image: np.ndarray, axis: int) -> float:
    return float(np.abs(np.diff(image, axis=axis + 1)).mean())


@every_change
def test_shape_and_dtype_stay_and_the_input_is_left_alone(change: Change, image: np.ndarray) -> None:
    before = image.copy()
    changed = change(image, np.random.default_rng(1))
    assert changed.shape == image.shape and changed.dtype == np.float32
    assert np.isfinite(changed).all() and not np.allclose(changed, image)
    assert np.array_equal(image, before)


@every_change
def test_the_seed_decides_and_no_global_state_does(change: Change, image: np.ndarray) -> None:
    np.random.seed(0)
    untouched = np.random.RandomState(0).random()
    first, same, other = (change(image, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, same) and not np.allclose(first, other)
    assert np.random.random() == untouched


@every_change
def test_amounts_are_relative_to_the_image(change: Change, image: np.ndarray) -> None:
    """The same image in another unit comes out as the same image in that unit."""
    changed, changed_in_unit = (change(i, np.random.default_rng(1)) for i in (image, image * 8 - 40))
    tolerance = 1e-4 * image.std((1, 2, 3), keepdims=True)
    assert (np.abs((changed_in_unit + 40) / 8 - changed) < tolerance).all()


@every_change
def test_a_constant_image_stays_as_it_is(change: Change) -> None:
    flat = np.full((1, 4, 8, 8), 3, np.float32)
    assert np.allclose(change(flat, np.random.default_rng(0)), 3)


@pytest.mark.parametrize("change", [intensity.brightness, intensity.contrast, intensity.gamma])
def test_channels_have_draws_of_their_own(change: Change, image: np.ndarray) -> None:
    twins = np.stack([image[0], image[0]])
    changed = change(twins, np.random.default_rng(1))
    assert not np.allclose(changed[0], changed[1])


def test_noise_has_the_deviation_asked_for(image: np.ndarray) -> None:
    added = intensity.noise(image, np.random.default_rng(1), (0.1, 0.1)) - image
    assert np.allclose(added.std((1, 2, 3)), 0.1 * statistics(image)[1], rtol=0.05)


def test_brightness_moves_the_mean_by_a_share_of_the_deviation(image: np.ndarray) -> None:
    mean, deviation = statistics(image)
    new_mean, new_deviation = statistics(intensity.brightness(image, np.random.default_rng(1), (0.25, 0.25)))
    assert np.allclose(new_mean - mean, 0.25 * deviation, rtol=1e-3)
    assert np.allclose(new_deviation, deviation, rtol=1e-4)


def test_contrast_scales_about_the_mean(image: np.ndarray) -> None:
    mean, deviation = statistics(image)
    new_mean, new_deviation = statistics(intensity.contrast(image, np.random.default_rng(1), (1.3, 1.3)))
    assert np.allclose(new_mean, mean, rtol=1e-4, atol=1e-3)
    assert np.allclose(new_deviation, 1.3 * deviation, rtol=1e-4)


@pytest.mark.parametrize("inverted", [0.0, 1.0])
def test_gamma_retains_mean_and_deviation_or_the_range(image: np.ndarray, inverted: float) -> None:
    retained = intensity.gamma(image, np.random.default_rng(1), (1.5, 1.5), inverted)
    for new, old in zip(statistics(retained), statistics(image), strict=True):
        assert np.allclose(new, old, rtol=1e-3, atol=1e-3)
    free = intensity.gamma(image, np.random.default_rng(1), (1.5, 1.5), inverted, retain_stats=False)
    assert np.allclose(free.min((1, 2, 3)), image.min((1, 2, 3)), rtol=1e-4, atol=1e-4)
    assert np.allclose(free.max((1, 2, 3)), image.max((1, 2, 3)), rtol=1e-4, atol=1e-4)


def test_gamma_by_hand() -> None:
    ramp = np.array([10, 11, 12, 14], np.float32).reshape(1, 1, 1, 4)
    rng = np.random.default_rng(0)
    plain, inverted = (
        intensity.gamma(ramp, rng, (2, 2), probability, retain_stats=False) for probability in (0, 1)
    )
    assert np.allclose(plain.ravel(), [10, 10.25, 11, 14])  # 0, 1/4, 1/2, 1 squared
    assert np.allclose(inverted.ravel(), [10, 11.75, 13, 14])  # 1, 3/4, 1/2, 0 squared, from the top


def test_blur_smooths_in_plane_and_leaves_the_thick_axis(image: np.ndarray) -> None:
    blurred = intensity.blur(image, np.random.default_rng(1), thick_axis=0)
    assert roughness(blurred, 1) < roughness(image, 1)
    point = np.zeros((1, 5, 9, 9), np.float32)
    point[0, 2, 4, 4] = 1
    spread = intensity.blur(point, np.random.default_rng(1), thick_axis=0)
    assert np.flatnonzero(spread.sum((0, 2, 3))).tolist() == [2]
    assert spread.sum() == pytest.approx(1, abs=1e-5)
    assert (intensity.blur(point, np.random.default_rng(1)).sum((0, 2, 3)) > 0).sum() > 1


def test_low_resolution_smooths_all_but_the_thick_axis() -> None:
    slices = np.tile(np.arange(5, dtype=np.float32).reshape(1, 5, 1, 1) ** 2, (1, 1, 12, 12))
    stacked = intensity.low_resolution(slices, np.random.default_rng(1), (0.5, 0.5), thick_axis=0)
    assert np.allclose(stacked, slices, atol=1e-5)
    assert not np.allclose(intensity.low_resolution(slices, np.random.default_rng(1), (0.5, 0.5)), slices)
    stripes = np.tile(np.array([0, 1], np.float32), 6)[None, None, None, :].repeat(4, axis=2)
    halved = intensity.low_resolution(stripes, np.random.default_rng(1), (0.5, 0.5))
    assert np.allclose(halved, 0.5)


def test_low_resolution_survives_axes_of_one_voxel() -> None:
    assert intensity.low_resolution(np.ones((1, 1, 9, 9), np.float32), np.random.default_rng(0)).shape[1] == 1
