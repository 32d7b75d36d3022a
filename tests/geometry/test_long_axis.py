"""The turn that straightens a long bone."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kneeformer.geometry.long_axis import straightening


def rod(seed: int = 0) -> np.ndarray:
    """Points of a rod along z, 400 mm long and 20 mm thick, (x, y, z)."""
    return np.random.default_rng(seed).uniform([-10, -10, -200], [10, 10, 200], (4000, 3))


@pytest.mark.parametrize("degrees", [0, 15, 40])
def test_a_tilted_rod_stands_upright_and_is_turned_no_further(degrees: float) -> None:
    tilt = Rotation.from_euler("x", degrees, degrees=True).as_matrix()
    turn = straightening(rod() @ tilt.T)
    assert np.allclose(turn @ turn.T, np.eye(3), atol=1e-12) and np.isclose(np.linalg.det(turn), 1)
    assert np.ptp(rod() @ (turn @ tilt).T, axis=0) == pytest.approx([20, 20, 400], abs=2)
    angle = np.degrees(np.arccos((np.trace(turn) - 1) / 2))
    assert angle == pytest.approx(degrees, abs=0.5)


def test_a_rod_along_another_axis_stays_along_it() -> None:
    lying = rod()[:, [2, 0, 1]]
    assert np.allclose(straightening(lying), np.eye(3), atol=5e-3)


def test_the_mirror_image_is_turned_as_a_mirror_image() -> None:
    tilt = Rotation.from_euler("zyx", [10, 20, 15], degrees=True).as_matrix()
    points, mirror = rod() @ tilt.T, np.diag([-1.0, 1, 1])
    assert np.allclose(straightening(points @ mirror), mirror @ straightening(points) @ mirror, atol=1e-9)
