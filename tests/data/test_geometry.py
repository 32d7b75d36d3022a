"""Grids in patient space, worked by hand."""

import numpy as np
import pytest

from kneeformer.data.geometry import Geometry

# Index x runs along patient -y, index y along patient x: a quarter turn about z.
QUARTER_TURN = (0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0)


def test_corners_of_a_plain_grid() -> None:
    corners = Geometry((2, 3, 4), (5.0, 2.0, 1.0), (10.0, 20.0, 30.0)).corners()
    assert corners.shape == (8, 3)
    np.testing.assert_array_equal(corners.min(0), [10, 20, 30])
    np.testing.assert_array_equal(corners.max(0), [10 + 3 * 1, 20 + 2 * 2, 30 + 1 * 5])


def test_corners_of_a_turned_grid() -> None:
    corners = Geometry((2, 3, 4), (5.0, 2.0, 1.0), (10.0, 20.0, 30.0), QUARTER_TURN).corners()
    by_hand = {(10 + y, 20 - x, 30 + z) for x in (0, 3) for y in (0, 4) for z in (0, 5)}
    assert {tuple(c) for c in corners.tolist()} == by_hand


def test_corners_of_an_oblique_grid() -> None:
    """Thirty degrees about z: the far corner along x lies at (cos, sin) of its length of 20 mm."""
    cosine, sine = np.sqrt(3) / 2, 0.5
    direction = (cosine, -sine, 0.0, sine, cosine, 0.0, 0.0, 0.0, 1.0)
    corners = Geometry((2, 11, 21), (4.0, 1.0, 1.0), direction=direction).corners()
    expected = [[0, 0, 0], [20 * cosine, 20 * sine, 0], [-10 * sine, 10 * cosine, 0], [0, 0, 4]]
    for corner in expected:
        assert np.abs(corners - corner).sum(1).min() < 1e-12


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Geometry((2, 3, 5), (5.0, 2.0, 1.0)), "size 2 x 3 x 4 against 2 x 3 x 5 voxels"),
        (Geometry((2, 3, 4), (5.0, 2.0, 1.5)), "spacing 5 x 2 x 1 against 5 x 2 x 1.5 mm"),
        (
            Geometry((2, 3, 4), (5.0, 2.0, 1.0), (0.0, 0.5, 0.0)),
            "same size and spacing, but corners 0.5 mm apart (origin or direction differ)",
        ),
        (
            Geometry((2, 3, 4), (5.0, 2.0, 1.0), direction=QUARTER_TURN),
            "same size and spacing, but corners 7 mm apart (origin or direction differ)",
        ),
    ],
)
def test_mismatch(other: Geometry, message: str) -> None:
    assert Geometry((2, 3, 4), (5.0, 2.0, 1.0)).mismatch(other) == message


def test_rounding_is_no_mismatch() -> None:
    rounded = Geometry((2, 3, 4), (5.000004, 2.0, 1.0), (0.0001, 0.0, 0.0))
    assert Geometry((2, 3, 4), (5.0, 2.0, 1.0)).mismatch(rounded) is None


@pytest.mark.parametrize(
    ("direction", "axis"),
    [((1, 0, 0, 0, 1, 0, 0, 0, 1), 2), (QUARTER_TURN, 1), ((0, 0, 1, 1, 0, 0, 0, -1, 0), 0)],
)
def test_left_right_axis(direction: tuple[float, ...], axis: int) -> None:
    """Columns of the direction are index axes (x, y, z); the array's axes are (z, y, x)."""
    assert Geometry((2, 3, 4), (1.0, 1.0, 1.0), direction=direction).left_right_axis() == axis
