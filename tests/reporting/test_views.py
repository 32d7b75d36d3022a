"""Planes are in radiological orientation, however the file stores its axes."""

import itertools

import numpy as np
import pytest

from kneeformer.geometry.grid import Grid
from kneeformer.reporting.views import View, fullest_slice

# A patient of 2 x 3 x 4 voxels, axes (feet to head, front to back, right to left), each with its own value.
PATIENT = np.arange(24).reshape(2, 3, 4)


def stored(order: tuple[int, ...], flipped: tuple[int, ...]) -> tuple[np.ndarray, Grid]:
    """The patient as a file with its axes in another order, some of them running backwards."""
    array = np.flip(PATIENT, flipped).transpose(order)
    spacing = np.array([1.0, 2.0, 5.0])[list(order)]
    steps = np.eye(3)[:, ::-1]  # columns: patient direction (x, y, z) of the axes head, back, left
    steps = np.where(np.isin(np.arange(3), flipped), -steps, steps)[:, list(order)]
    direction = tuple(steps[:, ::-1].ravel().tolist())  # ITK: columns in the order of the index (x, y, z)
    shape = (array.shape[0], array.shape[1], array.shape[2])
    return array, Grid(shape, (spacing[0], spacing[1], spacing[2]), direction=direction)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flipped", [(), (0,), (1, 2), (0, 1, 2)])
def test_every_way_of_storing_looks_alike(order: tuple[int, ...], flipped: tuple[int, ...]) -> None:
    array, grid = stored(order, flipped)
    sagittal, coronal, axial = View.all_of(grid)
    assert [v.axis for v in (sagittal, coronal, axial)] == [order.index(a) for a in (2, 1, 0)]
    wanted = np.moveaxis(PATIENT, 2, 0)[:, ::-1]  # rows from head to feet, columns from front to back
    assert np.array_equal(sagittal.slices(array)[0], wanted[3 if 2 in flipped else 0])
    assert sagittal.pixel_mm == (1.0, 2.0) and sagittal.aspect == 0.5
    assert np.array_equal(axial.slices(array)[0], PATIENT[1 if 0 in flipped else 0])  # front on top
    assert np.array_equal(coronal.slices(array)[0], PATIENT[::-1, 2 if 1 in flipped else 0])


def test_planes_are_named_and_their_ends_lettered() -> None:
    views = View.all_of(Grid.along_patient((4, 5, 6), (3.0, 1.0, 1.0), "RIP"))
    assert [view.plane for view in views] == ["sagittal", "coronal", "axial"]
    assert ["".join(view.ends) for view in views] == ["SIAP", "SIRL", "APRL"]


def test_an_oblique_grid_is_seen_along_the_nearest_axes() -> None:
    turn = np.deg2rad(20)
    cosines = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    grid = Grid((4, 5, 6), (1.0, 1.0, 1.0), direction=tuple(cosines.ravel().tolist()))
    assert [view.axis for view in View.all_of(grid)] == [2, 1, 0]


def test_the_fullest_slice_weighs_structures_alike() -> None:
    labels = np.zeros((6, 10, 10), int)
    labels[1:5] = 1  # a bone, the same in four slices
    labels[3, 0, :4] = 2  # a cartilage, in one of them
    assert fullest_slice(labels, 0) == 3
    assert fullest_slice(np.zeros((7, 3, 3), int), 0) == 3
