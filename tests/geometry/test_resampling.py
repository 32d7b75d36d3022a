"""Voxels of one axis on another of the same length, worked by hand."""

import numpy as np
import pytest

from kneeformer.geometry.resampling import nearest_voxels, new_centres, new_shape, resampled_spacing


def test_the_new_shape_keeps_the_millimetres() -> None:
    assert new_shape((36, 320, 320), (3.11, 0.4375, 0.4375), (3.11, 0.875, 0.35)) == (36, 160, 400)
    assert new_shape((1, 2, 3), (1.0, 1.0, 1.0), (5.0, 5.0, 5.0)) == (1, 1, 1)


def test_slices_stay_as_thick_as_they_are() -> None:
    target = (4.0, 0.5, 0.5)
    assert resampled_spacing((5.0, 0.4, 0.6), target, thick_axis=0) == (5.0, 0.5, 0.5)
    assert resampled_spacing((3.0, 0.4, 0.6), target, thick_axis=0) == (3.0, 0.5, 0.5)
    assert resampled_spacing((5.0, 0.4, 0.6), target, thick_axis=None) == target


def test_slices_unlike_those_of_other_scans_are_resampled() -> None:
    assert resampled_spacing((6.1, 0.5, 0.5), (4.0, 0.5, 0.5), thick_axis=0) == (4.0, 0.5, 0.5)
    assert resampled_spacing((1.0, 1.0, 1.0), (4.0, 0.5, 0.5), thick_axis=0) == (4.0, 0.5, 0.5)


def test_two_voxels_for_one_lie_a_quarter_to_either_side() -> None:
    assert new_centres(2, 4).tolist() == [-0.25, 0.25, 0.75, 1.25]
    assert new_centres(4, 2).tolist() == [0.5, 2.5]
    assert new_centres(3, 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize(("old", "new"), [(36, 20), (20, 36), (7, 3), (3, 7), (1, 5)])
def test_the_way_back_undoes_the_way_there(old: int, new: int) -> None:
    """The new centres of the old centres of some index are that index: both axes have the same ends."""
    there = new_centres(old, new)
    np.testing.assert_allclose((there + 0.5) * new / old - 0.5, np.arange(new), atol=1e-12)
    assert there[0] + there[-1] == pytest.approx(old - 1)  # the same middle


def test_the_nearest_voxel() -> None:
    assert nearest_voxels(3, 6).tolist() == [0, 0, 1, 1, 2, 2]
    assert nearest_voxels(6, 3).tolist() == [1, 3, 5]  # on a face, the later one
    assert nearest_voxels(5, 1).tolist() == [2]
