"""A scan stored in any order and direction of its axes is prepared alike; its outputs lie as it lies."""

from itertools import permutations, product

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kneeformer.config import Normalisation, PreprocessingSettings
from kneeformer.geometry.grid import Grid
from kneeformer.geometry.orientation import ENDS, turn
from kneeformer.transforms.prepare import prepare

ORIENTATIONS = ["".join(ends) for lines in permutations(ENDS) for ends in product(*lines)]
OBLIQUE = tuple(Rotation.from_euler("xyz", (12, -9, 20), degrees=True).as_matrix().ravel())
GRID = Grid((6, 10, 12), (3.0, 0.5, 0.4), (4.0, -2.0, 9.0), OBLIQUE)  # "SPL"
SETTINGS = PreprocessingSettings(
    folder="test",
    spacing=(3.0, 0.6, 0.6),
    orientations=("SPL",),
    median_shape=GRID.shape,
    thick_axis=0,
    normalisation=(Normalisation(kind="zscore"),),
)


def volume() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    image = np.zeros((1, *GRID.shape), np.int16)
    image[0, 1:5, 2:9, 3:11] = rng.integers(1, 500, (4, 7, 8))
    labels = np.zeros(GRID.shape, np.uint8)
    labels[2, 3:6, 4:9] = 2
    return image, labels


@pytest.mark.parametrize("stored", ORIENTATIONS)
def test_all_48_ways_to_store_a_scan_are_prepared_alike(stored: str) -> None:
    image, labels = volume()
    wanted = prepare(image, labels, GRID, SETTINGS)
    other = GRID.turned(stored)
    found = prepare(turn(image, "SPL", stored), turn(labels, "SPL", stored), other, SETTINGS)
    assert np.array_equal(found.image, wanted.image) and np.array_equal(found.labels, wanted.labels)
    assert found.grid.mismatch(GRID) is None
    part = np.random.default_rng(1).integers(0, 9, (2, *wanted.box_shape))
    assert found.on_native_grid(part).shape == (2, *other.shape)
    assert np.array_equal(turn(found.on_native_grid(part), stored, "SPL"), wanted.on_native_grid(part))
