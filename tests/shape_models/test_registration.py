"""Registration finds the similarity that a bone was moved by, hidden in part or not."""

import math

import pytest
import torch
from phantoms import FINE, Frame, anatomy, turned
from torch import Tensor

from kneeformer.shape_models.least_squares import Family
from kneeformer.shape_models.pose import Pose, rotation_matrix, warp
from kneeformer.shape_models.registration import Carry, Registration, read_bone
from kneeformer.shape_models.settings import RegistrationSettings

KNOWN = FINE.everywhere
MOVES = [turned(15, 20, 0.92, seed=0), turned(15, 20, 1.08, seed=1), turned(15, 20, 1.0, seed=2)]
IDS = ["smaller", "larger", "as large"]


@pytest.fixture(scope="module")
def network() -> Registration:
    made = Registration(FINE.grid, FINE.spacing, RegistrationSettings())
    made.prototype.copy_(FINE.bone(anatomy(0)))
    return made


def test_the_motion_left_leads_back_to_the_usual_size(network: Registration) -> None:
    """However it is rotated, it is 1.1 times as large; spreads are 0.3 rad and 0.1 of log scale."""
    pose = Pose(rotation_matrix(torch.tensor([0.1, 0.2, 0.2]) / 3), torch.tensor([5.0, 0, 0]).double(), 1.1)
    left = network.motion_left(pose)
    assert left.mean.tolist() == pytest.approx([0, 0, 0, 0, 0, 0, -math.log(1.1)], abs=1e-6)
    assert left.deviation.tolist() == pytest.approx([10] * 3 + [0.3] * 3 + [0.1])


def test_a_pose_settles_where_it_belongs_however_the_bone_is_rotated(network: Registration) -> None:
    """Begun a few mm and degrees off, with a spread that allows hardly any rotation: where it settles, on the
    prototype's grid, that does not count."""
    family, true = Family.of_one(network.prototype[1]), turned(40, 10, 1.05, seed=5)
    image = FINE.bone(anatomy(0), true)
    off = turned(4, 2, 1.0, seed=6).after(true)
    narrow = Registration(FINE.grid, FINE.spacing, RegistrationSettings())
    narrow.load_state_dict(network.state_dict())
    narrow.spread[0] = 0.02
    found = narrow.among(image, KNOWN, off, family, carried_by(narrow, image))
    assert errors(found, image, true).max() < 0.3


def carried_by(network: Registration, image: Tensor, known: Tensor = KNOWN) -> Carry:
    def carry(pose: Pose) -> tuple[Tensor, Tensor]:
        there = warp(known[None].float(), pose, network.grid, network.spacing)[0] > 0.999
        return network.registered(torch.where(known, image, 0), pose), there

    return carry


def errors(found: Pose, image: Tensor, true: Pose) -> Tensor:
    """mm between where points of a bone's surface come to lie and where they belong."""
    apart: Tensor = found(FINE.surface(image)) - true(FINE.surface(image))
    return torch.linalg.vector_norm(apart, dim=1)


@pytest.mark.parametrize("true", MOVES, ids=IDS)
def test_a_moved_bone_is_found(network: Registration, true: Pose) -> None:
    image = FINE.bone(anatomy(0), true)
    fit = network(image, KNOWN)
    apart = errors(fit.pose, image, true)
    assert apart.median() < 0.15 and apart.max() < 0.3
    assert fit.pose.scale == pytest.approx(true.scale, rel=0.002)
    assert fit.residual_mm < 0.1 and fit.inliers == 1
    assert (torch.linalg.svdvals(fit.pose.matrix()[:3, :3]) / fit.pose.scale - 1).abs().max() < 1e-6


@pytest.mark.parametrize("true", MOVES, ids=IDS)
def test_a_quarter_of_the_bone_is_not_needed(network: Registration, true: Pose) -> None:
    image = FINE.bone(anatomy(0), true)
    to_hidden = FINE.hidden(image, 0.25, seed=4)
    fit = network(image, image[1].abs() < to_hidden)
    assert errors(fit.pose, image, true).median() < 0.3
    assert fit.residual_mm < 0.15 and fit.inliers == 1


def test_what_is_not_known_does_not_count(network: Registration) -> None:
    image = FINE.bone(anatomy(0), MOVES[0])
    known = image[1].abs() < FINE.hidden(image, 0.25, seed=5)
    spoilt = image.clone()
    spoilt[:, ~known] = torch.nan
    first, second = network(image, known), network(spoilt, known)
    assert torch.equal(first.pose.matrix(), second.pose.matrix())
    assert (first.residual_mm, first.inliers) == (second.residual_mm, second.inliers)


def test_a_fragment_that_has_moved_counts_little(network: Registration) -> None:
    image = FINE.bone(anatomy(0), MOVES[1])
    away = FINE.hidden(image, 0.15, seed=6)
    image[1] = torch.where(away == 0, image[1] + 12, image[1])  # sunken in by 12 mm
    fit = network(image, KNOWN)
    assert errors(fit.pose, FINE.bone(anatomy(0), MOVES[1]), MOVES[1]).median() < 0.3
    assert fit.inliers < 1


def test_another_bone_in_two_poses_comes_to_one_place(network: Registration) -> None:
    poses = [turned(12, 10, 1.05, seed=7), turned(12, 15, 0.95, seed=8)]
    points = FINE.surface(FINE.bone(anatomy(1)))
    places = []
    for pose in poses:
        fit = network(FINE.bone(anatomy(1), pose), KNOWN)
        assert fit.inliers > 0.5 and 0.1 < fit.residual_mm < 2.5
        places.append(fit.pose(pose.inverse()(points)))
    assert (places[0] - places[1]).norm(dim=1).max() < 1


def test_a_better_start_is_used(network: Registration) -> None:
    far = turned(70, 10, 1.0, seed=9)
    image = FINE.bone(anatomy(0), far)
    for near in (False, True):
        fit = network(image, KNOWN, start=far, near=near)
        assert errors(fit.pose, image, far).max() < 0.3


def test_a_bone_that_has_slid_along_its_shaft_is_found() -> None:
    """A capsule of 120 mm with a head at one end, of any size: the shaft alone fits anywhere along it."""
    long = Frame((80, 16, 16), (2.5, 2.5, 2.5))

    def bone(head_mm: float, lies_mm: float = 0.0) -> Tensor:
        z, y, x = (long.points - torch.tensor([lies_mm, 0.0, 0.0])).T
        beyond = (z.abs() - 60).clamp(min=0)
        shaft = (beyond**2 + y**2 + x**2).sqrt() - 8
        head = ((z - 60) ** 2 + y**2 + (x - 4) ** 2).sqrt() - head_mm
        return long.image(torch.minimum(shaft, head))

    network = Registration(long.grid, long.spacing, RegistrationSettings())
    mode = (bone(14) - bone(10))[[1]] / 2
    family = Family(bone(12)[1], mode, 0.5)
    image, known = bone(14, lies_mm=30), long.everywhere
    found = network.among(image, known, Pose.identity(), family, carried_by(network, image, known))
    assert found.shift[0] == pytest.approx(-30, abs=0.5)


def test_pose_and_shape_are_found_together(network: Registration) -> None:
    """Between two anatomies, two thirds of the way; a quarter of it is hidden."""
    true = MOVES[1]
    first, second = (FINE.bone(anatomy(n), true)[1] for n in (0, 1))
    image = FINE.image(first / 3 + second * 2 / 3)
    known = image[1].abs() < FINE.hidden(image, 0.25, seed=4)
    mode = (FINE.bone(anatomy(1)) - FINE.bone(anatomy(0)))[[1]]
    family = Family(network.prototype[1], mode, 0.5)
    start = network(image, known).pose
    together = network.among(image, known, start, family, carried_by(network, image, known))
    apart = [float(errors(pose, image, true).median()) for pose in (start, together)]
    assert apart[1] < 0.3 and apart[1] < apart[0] / 3


def test_without_steps_a_pose_stays_among_shapes_too() -> None:
    network = Registration(FINE.grid, FINE.spacing, RegistrationSettings(steps=0))
    image = FINE.bone(anatomy(1), MOVES[0])
    family = Family(image[1], image[[1]], 0.5)
    assert network.among(image, KNOWN, MOVES[1], family, carried_by(network, image)) is MOVES[1]


def test_another_shape_is_told(network: Registration) -> None:
    own, other = network(FINE.bone(anatomy(1)), KNOWN), network(FINE.ball(25), KNOWN)
    assert other.residual_mm > 1 and other.residual_mm > own.residual_mm
    assert other.inliers < 0.85


def test_registered_distances_are_mm_of_the_prototype(network: Registration) -> None:
    true = MOVES[0]
    seen = network.registered(FINE.bone(anatomy(0), true), true)
    near = (network.prototype[1].abs() < 4) & (
        (true.inverse()(FINE.points).abs() < 45).all(1).reshape(FINE.grid)
    )
    assert near.sum() > 10_000
    assert (seen[1] - network.prototype[1])[near].abs().quantile(0.99) < 0.3
    image = FINE.ball(20)
    before = image.clone()
    network.registered(image, true)
    assert torch.equal(image, before)


def test_nothing_known_leaves_the_bone_where_it_lies(network: Registration) -> None:
    fit = network(FINE.bone(anatomy(0)), torch.zeros_like(KNOWN))
    assert torch.equal(fit.pose.matrix(), Pose.identity().matrix())


def test_the_prototype_is_what_is_learnt(network: Registration) -> None:
    other = Registration(FINE.grid, FINE.spacing, RegistrationSettings())
    other.load_state_dict(network.state_dict())
    assert "prototype" in network.state_dict() and torch.equal(other.prototype, network.prototype)
    image = FINE.bone(anatomy(1), MOVES[0])
    assert torch.equal(other(image, KNOWN).pose.matrix(), network(image, KNOWN).pose.matrix())


def test_a_stretched_bone_is_found_where_the_registration_is_affine() -> None:
    turn = turned(10, 8, 1.03, seed=3)
    strength = torch.tensor([0.06, -0.02, -0.04], dtype=torch.float64).exp()
    axes = turned(40, 0, 1.0, seed=4).rotation
    true = Pose(turn.rotation, turn.shift, turn.scale, axes @ torch.diag(strength) @ axes.T)
    image, apart = FINE.bone(anatomy(0), true), {}
    for affine in (False, True):
        network = Registration(FINE.grid, FINE.spacing, RegistrationSettings(affine=affine))
        network.prototype.copy_(FINE.bone(anatomy(0)))
        pose = network(image, KNOWN).pose
        apart[affine] = float(errors(pose, image, true).median())
        assert torch.linalg.det(pose.stretch) == pytest.approx(1, abs=1e-6)
        assert torch.allclose(pose.stretch, torch.eye(3, dtype=torch.float64), atol=1e-9) != affine
    assert apart[True] < 0.3 and apart[False] > 2 * apart[True]


def test_a_bone_ends_where_its_grid_does() -> None:
    """A ball of 20 mm on a grid that reaches 16 mm: at its border 4 mm inside the ball, 8 mm on 4 outside."""
    frame = Frame((9, 9, 9), (4.0, 4.0, 4.0))
    ball = frame.ball(20)
    points = torch.tensor([[12.0, 0, 0], [16, 0, 0], [0, 18, 0], [0, 0, -24], [24, 0, 0]])
    ct, distance = read_bone(ball, points, frame.spacing)
    assert distance.tolist() == pytest.approx([-8, -4, -2, 4, 4], abs=1e-4)
    assert ct.tolist() == pytest.approx([1, 1, 0.5, 0, 0], abs=1e-4)
    smaller = Registration(frame.grid, frame.spacing, RegistrationSettings()).registered(
        ball, Pose(torch.eye(3).double(), torch.zeros(3).double(), 0.75)
    )
    assert smaller[1, 4, 4, [0, 4, 8]].tolist() == pytest.approx([1, -15, 1], abs=1e-3)  # a ball of 15 mm
