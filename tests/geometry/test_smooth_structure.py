"""Surfaces of label maps against bodies of known shape."""

from collections.abc import Callable
from math import inf, pi

import numpy as np
import pytest

from kneeformer.geometry.affine import rotation, transformed
from kneeformer.geometry.grid import Grid
from kneeformer.geometry.smooth_structure import SmoothStructure, slices_from_one, smooth_structure

Body = Callable[[np.ndarray], np.ndarray]  # (n, 3) mm around its middle -> (n,) mm below its surface
TURNED = rotation((25.0, -40.0, 10.0))
THICK, FINE, ISOTROPIC = (3.0, 0.5, 0.5), (0.7, 0.365, 0.365), (1.0, 1.0, 1.0)


def around(half_mm: float, spacing: tuple[float, float, float]) -> tuple[Grid, np.ndarray, np.ndarray]:
    """An oblique grid, the place of a body in it, which is no voxel's, and the voxels from there."""
    z, y, x = (int(2 * half_mm / s) + 9 for s in spacing)
    grid = Grid((z, y, x), spacing, (-310.5, 222.25, 120.75), tuple(TURNED.ravel().tolist()))
    middle = grid.corners().mean(0) + np.array([0.31, -0.17, 0.23])
    return grid, middle, grid.voxel_centres().reshape(-1, 3) - middle


def sphere(points: np.ndarray) -> np.ndarray:
    return np.asarray(15 - np.linalg.norm(points, axis=1))


def ellipsoid(points: np.ndarray) -> np.ndarray:
    """Half axes of 30, 18 and 12 mm, oblique; exact to first order at its surface."""
    scaled = points @ rotation((40.0, 20.0, 70.0)) / HALF_AXES
    level = np.linalg.norm(scaled, axis=1)
    return np.asarray(level * (1 - level) / np.linalg.norm(scaled / HALF_AXES, axis=1))


HALF_AXES = np.array([30.0, 18.0, 12.0])
ELLIPSOID_AREA = 4851.91  # mm2, by quadrature of its parametrisation with 2000 x 2000 nodes


BALL = (sphere, 15.0, 4 / 3 * pi * 15**3, 4 * pi * 15**2)
OBLIQUE = (ellipsoid, 30.0, 4 / 3 * pi * 30 * 18 * 12, ELLIPSOID_AREA)


@pytest.mark.parametrize(
    ("known", "spacing"),
    [(BALL, THICK), (BALL, FINE), (BALL, ISOTROPIC), (OBLIQUE, THICK), (OBLIQUE, ISOTROPIC)],
)
def test_bodies_keep_volume_area_centre_and_place(
    known: tuple[Body, float, float, float], spacing: tuple[float, float, float]
) -> None:
    body, half, volume, area = known
    grid, middle, points = around(half, spacing)
    mask = (body(points) > 0).reshape(grid.shape)
    surface = smooth_structure(mask, grid).surface
    assert surface.is_watertight
    assert surface.signed_volume_mm3 == pytest.approx(volume, rel=0.01)
    assert surface.signed_volume_mm3 == pytest.approx(mask.sum() * np.prod(spacing), rel=0.01)  # no shrinkage
    assert surface.areas_mm2.sum() == pytest.approx(area, rel=0.03)
    np.testing.assert_allclose(surface.centre_of_volume, middle, atol=0.05)
    off = np.abs(body(surface.vertices - middle))
    assert off.mean() < 0.08 * spacing[0] and np.percentile(off, 98) < 0.25 * spacing[0]


def test_slices_are_made_as_thin_as_two_voxels_are_wide() -> None:
    spacings = [(1.0, 1.0, 1.0), (2.0, 1.0, 1.0), (3.0, 0.5, 0.5), (3.1, 0.44, 0.44), (0.3, 0.3, 3.0)]
    assert [slices_from_one(s) for s in spacings] == [1, 1, 3, 5, 5]
    thin = smooth_structure(*cube((5, 9, 9), THICK)).grid
    assert thin.spacing == (1.0, 0.5, 0.5)


def cube(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> tuple[np.ndarray, Grid]:
    mask = np.zeros(shape, bool)
    mask[1:-1, 2:-2, 2:-2] = True
    return mask, Grid(shape, spacing)


def at_the_voxels(smooth: SmoothStructure, grid: Grid) -> np.ndarray:
    """Depth at the centres of the label map's voxels; -1 around the structure's grid."""
    index = transformed(grid.voxel_centres().reshape(-1, 3), smooth.grid.to_index())
    rows = np.rint(index).astype(int)
    known = ((rows >= 0) & (rows < smooth.depth.shape)).all(1)
    assert np.abs(index - rows)[known].max() < 1e-6
    found = np.full(len(rows), -1.0)
    found[known] = smooth.depth[tuple(rows[known].T)]
    return found.reshape(grid.shape)


@pytest.mark.parametrize("spacing", [THICK, ISOTROPIC])
@pytest.mark.parametrize("seed", range(3))
def test_every_voxel_stays_on_its_side_however_thin_the_structure(
    seed: int, spacing: tuple[float, float, float]
) -> None:
    mask = np.random.default_rng(seed).random((6, 12, 14)) > (0.5, 0.7, 0.98)[seed]
    grid = Grid(mask.shape, spacing)
    smooth = smooth_structure(mask, grid)
    np.testing.assert_array_equal(at_the_voxels(smooth, grid) > 0, mask)
    assert smooth.surface.is_watertight
    of_a_picture = smooth_structure(mask, grid, volume_error=inf)
    np.testing.assert_array_equal(at_the_voxels(of_a_picture, grid) > 0, mask)


@pytest.mark.parametrize("spacing", [THICK, ISOTROPIC])
def test_one_voxel_and_one_sheet_have_closed_surfaces(spacing: tuple[float, float, float]) -> None:
    for part in (np.s_[3, 4, 5], np.s_[3], np.s_[:, 4], np.s_[:]):
        mask = np.zeros((7, 9, 11), bool)
        mask[part] = True
        surface = smooth_structure(mask, Grid(mask.shape, spacing)).surface
        assert surface.is_watertight and surface.signed_volume_mm3 > 0


def test_closed_at_the_border_by_the_faces_of_the_last_voxels() -> None:
    mask = np.zeros((6, 20, 20), bool)
    mask[:4, 5:15, 5:15] = True
    surface = smooth_structure(mask, Grid(mask.shape, THICK)).surface
    assert surface.is_watertight
    assert surface.vertices[:, 2].min() == pytest.approx(-1.5, abs=0.01)  # half a slice before the first
    assert surface.signed_volume_mm3 == pytest.approx(mask.sum() * np.prod(THICK), rel=0.02)


def test_a_thin_layer_that_is_oblique_to_thick_slices_keeps_its_area_and_volume() -> None:
    """A layer of 1 mm on a plane at 30 degrees: its contours move by 5.2 mm from slice to slice."""
    grid = Grid((8, 120, 12), THICK)
    z, y, _ = np.indices(grid.shape)
    height = (3.0 * z - 10 + 0.5 * y * np.tan(pi / 6) - 12) * np.cos(pi / 6)
    bone, layer = height <= 0, (height > 0) & (height <= 1)
    surface = smooth_structure(layer, grid, bone).surface
    area = surface.areas_mm2.sum()
    in_stairs = smooth_structure(layer, grid).surface.areas_mm2.sum()
    expected = 2 * layer.sum() * np.prod(THICK) / 1.0  # two sides of a sheet of 1 mm
    assert area == pytest.approx(expected, rel=0.15)
    assert in_stairs < 0.85 * area
    assert surface.signed_volume_mm3 == pytest.approx(layer.sum() * np.prod(THICK), rel=0.01)
