"""Filling in without learning: exact on a linear ramp, within the visible voxels around a hole."""

import time

import numpy as np
import pytest

from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.metrics.interpolation import interpolate_hidden

SHAPE = (6, 8, 9)


def ramp(spacing_mm: Spacing) -> np.ndarray:
    """2 + 3 z - 5 y + 0.5 x, in mm."""
    z, y, x = (n * mm for n, mm in zip(np.indices(SHAPE), spacing_mm, strict=True))
    return 2 + 3 * z - 5 * y + 0.5 * x


def hole(*sides: tuple[int, int]) -> np.ndarray:
    hidden = np.zeros(SHAPE, bool)
    hidden[tuple(slice(first, last) for first, last in sides)] = True
    return hidden


def all_but_the_corners() -> np.ndarray:
    hidden = np.ones(SHAPE, bool)
    hidden[np.ix_((0, -1), (0, -1), (0, -1))] = False
    return hidden


INNER = {
    "a hole": hole((2, 4), (2, 6), (3, 7)),
    "two holes": hole((1, 3), (1, 4), (1, 3)) | hole((3, 5), (4, 7), (5, 8)),
    "a slab": hole((2, 4), (0, 8), (0, 9)),
    "all but the corners": all_but_the_corners(),
    "every other voxel": (np.indices(SHAPE).sum(0) % 2 == 1) & hole((1, 5), (1, 7), (1, 8)),
}


@pytest.mark.parametrize("hidden", INNER.values(), ids=INNER)
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.11, 0.4375, 0.5), (0.3, 2.0, 7.0)])
def test_a_linear_ramp_is_recovered_between_visible_voxels(hidden: np.ndarray, spacing: Spacing) -> None:
    truth = ramp(spacing)
    filled = interpolate_hidden(truth, hidden, spacing)
    assert filled.dtype == np.float32 and filled.shape == SHAPE
    assert np.abs(filled - truth).max() < 1e-4 * np.ptp(truth)


def test_visible_voxels_are_untouched_and_hidden_ones_not_read() -> None:
    rng = np.random.default_rng(0)
    image, hidden = rng.normal(size=SHAPE).astype(np.float32), rng.random(SHAPE) < 0.7
    filled = interpolate_hidden(image, hidden, (3.0, 0.5, 0.5))
    assert np.array_equal(filled[~hidden], image[~hidden])
    for value in (np.nan, np.inf, 1e30):
        spoilt = np.where(hidden, np.float32(value), image)
        assert np.array_equal(interpolate_hidden(spoilt, hidden, (3.0, 0.5, 0.5)), filled)


def test_nothing_is_beyond_what_is_seen() -> None:
    rng = np.random.default_rng(1)
    image, hidden = rng.normal(size=SHAPE).astype(np.float32), rng.random(SHAPE) < 0.8
    filled = interpolate_hidden(image, hidden, (3.0, 0.5, 0.5))
    low, high = image[~hidden].min(), image[~hidden].max()
    assert low - 1e-6 <= filled.min() and filled.max() <= high + 1e-6


def test_beyond_the_visible_voxels_the_nearest_counts_in_mm() -> None:
    image = np.zeros((2, 1, 4))
    image[0, 0, 0], image[1, 0, 3] = 10.0, 20.0
    hidden = np.ones(image.shape, bool)
    hidden[0, 0, 0] = hidden[1, 0, 3] = False
    # along x a step is 1 mm, along z 5 mm: from (0, 0, 2) it is 2 mm to the first, and over 5 mm to the other
    thick = interpolate_hidden(image, hidden, (5.0, 1.0, 1.0))
    assert thick[:, 0].tolist() == [[10, 10, 10, 10], [20, 20, 20, 20]]
    thin = interpolate_hidden(image, hidden, (0.5, 1.0, 1.0))
    assert thin[:, 0].tolist() == [[10, 10, 20, 20], [10, 10, 20, 20]]


@pytest.mark.parametrize("shape", [(2, 2, 2), (3, 4, 5), (1, 6, 6)])
def test_any_mask_is_filled_from_even_one_visible_voxel(shape: Size) -> None:
    rng = np.random.default_rng(2)
    image = rng.normal(size=shape)
    for seen in range(1, image.size + 1):
        hidden = np.ones(image.size, bool)
        hidden[rng.permutation(image.size)[:seen]] = False
        filled = interpolate_hidden(image, hidden.reshape(shape), (3.0, 0.5, 0.5))
        assert np.isfinite(filled).all()


def test_nothing_hidden_is_the_image_itself() -> None:
    image = np.random.default_rng(3).normal(size=SHAPE).astype(np.float32)
    assert np.array_equal(interpolate_hidden(image, np.zeros(SHAPE, bool), (1.0, 1.0, 1.0)), image)


def test_tokens_of_a_regular_grid_take_no_longer_than_points_anywhere() -> None:
    """On an exact lattice the search for a voxel's tetrahedron tries them all: minutes for this crop."""
    rng = np.random.default_rng(4)
    hidden = rng.random((6, 4, 4)) < 0.75
    for axis, size in enumerate((2, 16, 16)):
        hidden = hidden.repeat(size, axis)
    began = time.process_time()
    interpolate_hidden(rng.normal(size=hidden.shape), hidden, (3.11, 0.4375, 0.4375))
    assert time.process_time() - began < 5
