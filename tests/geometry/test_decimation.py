"""Fewer triangles, and still the same closed body."""

import numpy as np
import pytest

from kneeformer.geometry.decimation import decimated
from kneeformer.geometry.grid import Grid
from kneeformer.geometry.mesh import Mesh, surface_of


def test_a_ball_of_fewer_faces_has_its_volume_and_place() -> None:
    grid = Grid((40, 40, 40), (1.0, 1.0, 1.0), (900.0, -900.0, 1500.0))
    z, y, x = np.indices(grid.shape)
    ball = surface_of(15 - np.sqrt((z - 19.7) ** 2 + (y - 20.2) ** 2 + (x - 19.4) ** 2), 0.0, grid)
    fewer = decimated(ball, 1000)
    assert 900 < len(fewer.faces) <= 1000 < len(ball.faces) and fewer.is_watertight
    assert fewer.signed_volume_mm3 == pytest.approx(ball.signed_volume_mm3, rel=0.01)
    np.testing.assert_allclose(fewer.centre_of_volume, ball.centre_of_volume, atol=0.05)
    assert decimated(ball, 10**6) is ball


def thin_sheet(seed: int) -> Mesh:
    """One voxel thin, bent and with holes: what collapses onto itself."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((12, 60, 60), bool)
    y, x = np.indices((60, 60))
    height = (5 + 3 * np.sin(y / 9) * np.cos(x / 11)).astype(int)
    for dy, dx in zip(*np.nonzero(rng.random((60, 60)) > 0.1), strict=True):
        mask[height[dy, dx], dy, dx] = True
    return surface_of(mask, 0.5, Grid(mask.shape, (1.0, 1.0, 1.0)))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("wanted", [4500, 4])
def test_thin_sheets_stay_watertight_and_as_large(seed: int, wanted: int) -> None:
    sheet = thin_sheet(seed)
    fewer = decimated(sheet, wanted)
    assert fewer.is_watertight and len(fewer.faces) <= len(sheet.faces)
    assert fewer.signed_volume_mm3 == pytest.approx(sheet.signed_volume_mm3, rel=0.1)
