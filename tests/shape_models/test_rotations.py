"""Rotations from all over, and the few of them at which a bone may be looked for."""

import math

import pytest
import torch
from phantoms import COARSE, anatomy, turned
from torch import Tensor

from kneeformer.shape_models.least_squares import Family
from kneeformer.shape_models.pose import Pose, rotation_matrix
from kneeformer.shape_models.registration import Registration
from kneeformer.shape_models.rotations import ALIKE, all_rotations, angle_between, promising
from kneeformer.shape_models.settings import RegistrationSettings

KNOWN = COARSE.everywhere
AXES = torch.eye(3, dtype=torch.float64)
HALF_TURNS = {
    f"180 about {name}": rotation_matrix(math.pi * axis) for name, axis in zip("zyx", AXES, strict=True)
}
TURNS = {
    **HALF_TURNS,
    "90 about z": rotation_matrix(math.pi / 2 * AXES[0]),
    "90 about x": rotation_matrix(math.pi / 2 * AXES[2]),
    "any": turned(140, 0, 1.0, seed=3).rotation,
}


@pytest.fixture(scope="module")
def network() -> Registration:
    made = Registration(COARSE.grid, COARSE.spacing, RegistrationSettings())
    made.prototype.copy_(COARSE.bone(anatomy(0)))
    return made


def lying(turn: Tensor, seed: int = 0) -> Tensor:
    """A bone that a rotation brings to where its shape lies."""
    return COARSE.bone(anatomy(seed), Pose(turn, torch.zeros(3, dtype=torch.float64), 1.0))


def test_no_rotation_is_far_from_one_of_the_grid() -> None:
    grid = all_rotations()
    assert len(grid) == (9**4 - 7**4) // 2
    assert torch.allclose(grid @ grid.mT, AXES.expand_as(grid)) and (torch.linalg.det(grid) > 0).all()
    for seed in range(200):
        traces = (grid * turned(170 * seed / 200, 0, 1.0, seed).rotation).sum((1, 2))
        assert math.degrees(math.acos((float(traces.max()) - 1) / 2)) < 25


def test_the_angle_between_rotations() -> None:
    one = turned(50, 0, 1.0, seed=1).rotation
    assert math.degrees(angle_between(one @ rotation_matrix(0.3 * AXES[1]), one)) == pytest.approx(
        math.degrees(0.3)
    )
    assert angle_between(one, one) == pytest.approx(0, abs=1e-6)


def test_starts_are_not_alike_and_begin_with_the_bone_as_it_lies(network: Registration) -> None:
    image = lying(HALF_TURNS["180 about z"])
    problem = network._problem(Family.of_one(network.prototype[1]), network._surface(image, KNOWN))
    starts = promising(problem)
    assert torch.equal(starts[0].matrix(), Pose.identity().matrix()) and len(starts) <= 11
    pairs = [angle_between(a.rotation, b.rotation) for i, a in enumerate(starts) for b in starts[:i]]
    assert min(pairs) > ALIKE


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
def test_a_bone_is_found_any_way_round(network: Registration, turn: Tensor) -> None:
    ways = network.orientations(lying(turn), KNOWN, COARSE.spacing, None)
    assert math.degrees(angle_between(ways[0].pose.rotation, turn)) < 3
    assert len(ways) == 1


def test_a_ball_may_lie_any_way_round(network: Registration) -> None:
    network = Registration(COARSE.grid, COARSE.spacing, RegistrationSettings())
    network.prototype.copy_(COARSE.ball(25))
    assert len(network.orientations(COARSE.ball(25), KNOWN, COARSE.spacing, None)) > 1


def test_without_steps_a_bone_stays_as_it_lies() -> None:
    network = Registration(COARSE.grid, COARSE.spacing, RegistrationSettings(steps=0))
    (way,) = network.orientations(COARSE.ball(25), KNOWN, COARSE.spacing, None)
    assert torch.equal(way.pose.matrix(), Pose.identity().matrix())
