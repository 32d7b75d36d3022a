"""Grids in patient space, worked by hand."""

from itertools import permutations, product

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kneeformer.geometry.affine import rotation, transformed
from kneeformer.geometry.aliases import Size
from kneeformer.geometry.grid import Grid, points_from_middle
from kneeformer.geometry.orientation import ENDS, turn

ORIENTATIONS = ["".join(ends) for lines in permutations(ENDS) for ends in product(*lines)]

# Index x runs along patient -y, index y along patient x: a quarter turn about z.
QUARTER_TURN = (0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0)


def test_corners_of_a_plain_grid() -> None:
    corners = Grid((2, 3, 4), (5.0, 2.0, 1.0), (10.0, 20.0, 30.0)).corners()
    assert corners.shape == (8, 3)
    np.testing.assert_array_equal(corners.min(0), [10, 20, 30])
    np.testing.assert_array_equal(corners.max(0), [10 + 3 * 1, 20 + 2 * 2, 30 + 1 * 5])


def test_corners_of_a_turned_grid() -> None:
    corners = Grid((2, 3, 4), (5.0, 2.0, 1.0), (10.0, 20.0, 30.0), QUARTER_TURN).corners()
    by_hand = {(10 + y, 20 - x, 30 + z) for x in (0, 3) for y in (0, 4) for z in (0, 5)}
    assert {tuple(c) for c in corners.tolist()} == by_hand


def test_corners_of_an_oblique_grid() -> None:
    """Thirty degrees about z: the far corner along x lies at (cos, sin) of its length of 20 mm."""
    cosine, sine = np.sqrt(3) / 2, 0.5
    direction = (cosine, -sine, 0.0, sine, cosine, 0.0, 0.0, 0.0, 1.0)
    corners = Grid((2, 11, 21), (4.0, 1.0, 1.0), direction=direction).corners()
    expected = [[0, 0, 0], [20 * cosine, 20 * sine, 0], [-10 * sine, 10 * cosine, 0], [0, 0, 4]]
    for corner in expected:
        assert np.abs(corners - corner).sum(1).min() < 1e-12


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Grid((2, 3, 5), (5.0, 2.0, 1.0)), "size 2 x 3 x 4 against 2 x 3 x 5 voxels"),
        (Grid((2, 3, 4), (5.0, 2.0, 1.5)), "spacing 5 x 2 x 1 against 5 x 2 x 1.5 mm"),
        (
            Grid((2, 3, 4), (5.0, 2.0, 1.0), (0.0, 0.5, 0.0)),
            "same size and spacing, but corners 0.5 mm apart (origin or direction differ)",
        ),
        (
            Grid((2, 3, 4), (5.0, 2.0, 1.0), direction=QUARTER_TURN),
            "same size and spacing, but corners 7 mm apart (origin or direction differ)",
        ),
    ],
)
def test_mismatch(other: Grid, message: str) -> None:
    assert Grid((2, 3, 4), (5.0, 2.0, 1.0)).mismatch(other) == message


def test_rounding_is_no_mismatch() -> None:
    rounded = Grid((2, 3, 4), (5.000004, 2.0, 1.0), (0.0001, 0.0, 0.0))
    assert Grid((2, 3, 4), (5.0, 2.0, 1.0)).mismatch(rounded) is None


@pytest.mark.parametrize(
    ("direction", "orientation"),
    [
        ((1, 0, 0, 0, 1, 0, 0, 0, 1), "SPL"),
        ((-1, 0, 0, 0, -1, 0, 0, 0, 1), "SAR"),  # RAS
        (QUARTER_TURN, "SLA"),
        ((0, 0, 1, 1, 0, 0, 0, -1, 0), "LIP"),  # a sagittal scan: rows to the feet, columns to the back
        ((0, 0, -1, 1, 0, 0, 0, -1, 0), "RIP"),  # the same in a left-handed order of its slices
    ],
)
def test_orientation(direction: tuple[float, ...], orientation: str) -> None:
    """Columns of the direction are index axes (x, y, z); the letters are of the array's axes (z, y, x)."""
    grid = Grid((2, 3, 4), (1.0, 1.0, 1.0), direction=direction)
    assert grid.orientation() == orientation
    assert Grid.along_patient((2, 3, 4), (1.0, 1.0, 1.0), orientation).direction == direction


def test_an_oblique_grid_has_the_nearest_orientation() -> None:
    turned = Rotation.from_euler("xyz", (20, -25, 30), degrees=True).as_matrix()
    assert Grid((2, 3, 4), (1.0, 1.0, 1.0), direction=tuple(turned.ravel())).orientation() == "SPL"


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_turned_grid_has_every_voxel_where_it_was(orientation: str) -> None:
    turned = Rotation.from_euler("xyz", (20, -25, 30), degrees=True).as_matrix()
    grid = Grid((2, 3, 4), (5.0, 2.0, 1.5), (7.0, -3.0, 11.0), tuple(turned.ravel()))
    other = grid.turned(orientation)
    places = np.moveaxis(np.indices(grid.shape), 0, -1) @ grid.to_patient()[:3, :3].T + grid.origin
    there = np.moveaxis(np.indices(other.shape), 0, -1) @ other.to_patient()[:3, :3].T + other.origin
    assert other.orientation() == orientation
    for axis in range(3):
        assert np.allclose(turn(places[..., axis], grid.orientation(), orientation), there[..., axis])


def oblique(mirrored: bool) -> Grid:
    cosines = rotation((20.0, -35.0, 50.0)) @ np.diag([-1.0 if mirrored else 1.0, 1.0, 1.0])
    return Grid((5, 6, 7), (3.1, 0.44, 0.5), (-80.0, 12.5, 3.0), tuple(cosines.ravel().tolist()))


@pytest.mark.parametrize("mirrored", [False, True])
def test_an_index_comes_back_from_the_patient(mirrored: bool) -> None:
    grid = oblique(mirrored)
    index = np.random.default_rng(0).uniform(-5, 20, (50, 3))
    there = transformed(index, grid.to_patient())
    np.testing.assert_allclose(transformed(there, grid.to_index()), index, atol=1e-10)


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_volume_of_a_voxel_is_the_determinant_of_its_grid(mirrored: bool) -> None:
    grid = oblique(mirrored)
    determinant = np.linalg.det(grid.to_patient()[:3, :3])
    assert (determinant < 0) != mirrored  # (z, y, x) to (x, y, z) is itself a mirror
    assert grid.voxel_mm3 == pytest.approx(abs(determinant), rel=1e-12)
    assert grid.voxel_mm3 == pytest.approx(3.1 * 0.44 * 0.5, rel=1e-12)


@pytest.mark.parametrize("direction", [(1, 0.1, 0, 0, 1, 0, 0, 0, 1), (2, 0, 0, 0, 1, 0, 0, 0, 1)])
def test_a_sheared_or_stretched_grid_is_refused(direction: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="axes of length 1 at right angles"):
        Grid((2, 3, 4), (1.0, 1.0, 1.0), direction=direction)


@pytest.mark.parametrize(
    "spacing", [(0.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0, np.nan), (np.inf, 1.0, 1.0)]
)
def test_a_spacing_of_no_length_is_refused(spacing: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="spacings above 0 mm are needed"):
        Grid((2, 3, 4), spacing)


def test_voxel_centres_are_the_indices_in_the_patient() -> None:
    grid = oblique(mirrored=True)
    centres = grid.voxel_centres()
    by_index = transformed(np.moveaxis(np.indices(grid.shape), 0, -1), grid.to_patient())
    np.testing.assert_allclose(centres, by_index, atol=1e-10)
    corners = {tuple(np.round(c, 6)) for c in centres[::4, ::5, ::6].reshape(-1, 3)}
    assert corners == {tuple(np.round(c, 6)) for c in grid.corners()}


def test_the_box_around_points_holds_them_and_stays_in_the_grid() -> None:
    grid = Grid((10, 20, 30), (4.0, 2.0, 1.0), (100.0, 0.0, 0.0))
    inside = np.array([[103.5, 7.0, 8.0], [106.0, 9.0, 21.0]])  # x 3.5 and 6, y 3.5 and 4.5, z 2 and 5.25
    assert grid.box_around(inside) == ((2, 7), (3, 6), (3, 7))
    assert grid.box_around(np.array([[0.0, -50.0, -1.0], [500.0, 90.0, 90.0]])) == ((0, 10), (0, 20), (0, 30))


def test_points_from_the_middle() -> None:
    z, y, x = points_from_middle((1, 2, 3), (5.0, 2.0, 0.5))
    assert z.tolist() == [[[0.0] * 3] * 2]
    assert y.tolist() == [[[-1.0] * 3, [1.0] * 3]]
    assert x.tolist() == [[[-0.5, 0.0, 0.5]] * 2]


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_box_of_a_grid_keeps_the_places_of_its_voxels(mirrored: bool) -> None:
    grid = oblique(mirrored)
    part = grid.cut(((1, 4), (0, 6), (2, 5)))
    assert part.shape == (3, 6, 3) and part.spacing == grid.spacing
    np.testing.assert_allclose(part.voxel_centres(), grid.voxel_centres()[1:4, :, 2:5], atol=1e-10)


def outer_corners(grid: Grid) -> np.ndarray:
    """(2, 3) patient coordinates of the corner before the first voxel and of that behind the last."""
    return transformed(np.array([[-0.5] * 3, np.array(grid.shape) - 0.5]), grid.to_patient())


@pytest.mark.parametrize("shape", [(15, 6, 7), (5, 3, 14), (1, 1, 1)])
def test_a_resampled_grid_has_the_same_outer_faces(shape: Size) -> None:
    grid = oblique(mirrored=True)
    fine = grid.resampled(shape)
    np.testing.assert_allclose(outer_corners(fine), outer_corners(grid), atol=1e-10)
    assert fine.voxel_mm3 * np.prod(fine.shape) == pytest.approx(grid.voxel_mm3 * np.prod(grid.shape))
    assert fine.resampled(grid.shape).mismatch(grid) is None
