"""Orientations, worked by hand."""

import numpy as np
import pytest

from kneeformer.geometry.orientation import (
    checked_orientation,
    common_orientations,
    orientation_for,
    slice_axis,
    slice_plane,
    turn,
)

THICK, CUBIC = (4.0, 0.5, 0.5), (1.0, 1.0, 1.0)


def test_turning_an_array_by_hand() -> None:
    """Axes to superior, posterior, left become left, superior, anterior."""
    array = np.arange(24).reshape(2, 3, 4)
    turned = turn(array, "SPL", "LSA")
    assert turned.shape == (4, 2, 3)
    assert all(turned[x, z, 2 - y] == array[z, y, x] for z in range(2) for y in range(3) for x in range(4))
    assert np.array_equal(turn(turned, "LSA", "SPL"), array)


def test_channels_are_not_turned() -> None:
    array = np.arange(48).reshape(2, 2, 3, 4)
    assert np.array_equal(turn(array, "SPL", "LSA")[1], turn(array[1], "SPL", "LSA"))


@pytest.mark.parametrize("text", ["SPP", "SP", "XPL", "spl", "", "SPLR"])
def test_no_orientation(text: str) -> None:
    with pytest.raises(ValueError, match="one letter each of RL, AP and IS"):
        checked_orientation(text)


def test_thick_slices_are_over_twice_as_coarse_as_both_other_axes() -> None:
    assert slice_axis((3.1, 0.44, 0.44)) == 0 and slice_axis((0.44, 0.44, 3.1)) == 2
    assert slice_axis((0.7, 0.365, 0.365)) is None and slice_axis((2.0, 2.0, 0.5)) is None
    assert slice_plane("LIP", THICK) == "sagittal" and slice_plane("PIL", THICK) == "coronal"
    assert slice_plane("SPL", THICK) == "axial" and slice_plane("SPL", CUBIC) is None


def test_a_dataset_is_prepared_as_most_of_it_is_stored() -> None:
    assert common_orientations([("SPL", CUBIC)] * 2 + [("SAR", CUBIC)]) == ("SPL",)
    assert common_orientations([("SPL", CUBIC), ("SAR", CUBIC)]) == ("SAR",)  # a draw: by name


def test_each_plane_of_slices_has_its_orientation() -> None:
    scans = [("SPL", THICK)] * 2 + [("LIP", THICK)] * 3 + [("RIP", THICK)]
    assert common_orientations(scans) == ("LIP", "SPL")


def test_thick_slices_come_first() -> None:
    assert common_orientations([("PSL", (0.5, 0.5, 4.0))]) == ("LPS",)


def test_a_scan_keeps_its_slices() -> None:
    prepared = ("LIP", "SPL")
    assert orientation_for("SAR", THICK, prepared) == "SPL"
    assert orientation_for("ASR", (0.5, 0.5, 4.0), prepared) == "LIP"
    assert orientation_for("SAR", CUBIC, prepared) == "LIP"  # no slices: the first
    assert orientation_for("PIL", THICK, prepared) == "LIP"  # a plane that the dataset does not have
