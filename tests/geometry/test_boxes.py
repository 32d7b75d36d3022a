"""Boxes around masks, worked by hand."""

import numpy as np

from kneeformer.geometry.boxes import bounding_box, box_shape, grown, paste, slices, whole_box

SHAPE = (6, 10, 12)


def mask_of(*voxels: tuple[int, ...], shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(np.transpose(voxels))] = True
    return mask


def test_the_box_is_as_small_as_holds_every_voxel() -> None:
    box = bounding_box(mask_of((1, 9, 4), (3, 2, 11)))
    assert box == ((1, 4), (2, 10), (4, 12))
    assert box_shape(box) == (3, 8, 8)
    assert bounding_box(mask_of((2, 3), shape=(4, 5))) == ((2, 3), (3, 4))


def test_nothing_is_in_the_whole_box() -> None:
    assert bounding_box(np.zeros(SHAPE, bool)) == whole_box(SHAPE) == ((0, 6), (0, 10), (0, 12))


def test_a_box_grows_as_far_as_the_grid_goes() -> None:
    assert grown(((1, 4), (2, 9), (4, 12)), (2, 1, 3), SHAPE) == ((0, 6), (1, 10), (1, 12))


def test_what_is_cut_and_pasted_is_as_before() -> None:
    volume = np.zeros(SHAPE, np.int16)
    volume[1:4, 2:9, 4:12] = np.random.default_rng(0).integers(1, 99, (3, 7, 8))
    box = bounding_box(volume != 0)
    assert np.array_equal(paste(volume[slices(box)], box, SHAPE), volume)
