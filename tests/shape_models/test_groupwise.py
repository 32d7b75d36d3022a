"""Bones of one shape, in poses of their own, come to lie on each other and on the prototype."""

import numpy as np
import pytest
import torch
from torch import Tensor

from kneeformer.networks.positions import points_from_middle
from kneeformer.phantoms.bone_shape import BoneAnatomy
from kneeformer.shape_models.groupwise import fit_prototype
from kneeformer.shape_models.pose import Pose, rotation_matrix
from kneeformer.shape_models.registration import Registration
from kneeformer.shape_models.settings import RegistrationSettings

pytestmark = pytest.mark.slow

GRID, SPACING = (48, 36, 48), (2.5, 2.5, 2.5)
POINTS = points_from_middle(GRID, SPACING)
TIBIA = BoneAnatomy.draw(np.random.default_rng(3))
SCALES = (0.92, 1.08, 1.0, 0.96, 1.04)


def bone(pose: Pose, shape: BoneAnatomy = TIBIA) -> Tensor:
    """(2, z, y, x) of the bone that its pose brings to where the shape itself lies."""
    distance = shape.signed_distance(pose(POINTS.double()).numpy()[:, ::-1]) / pose.scale
    return torch.from_numpy(np.stack([distance < 0, distance])).float().reshape(2, *GRID)


def truths() -> list[Pose]:
    generator = torch.Generator().manual_seed(0)
    turns, shifts = torch.randn(2, len(SCALES), 3, generator=generator, dtype=torch.float64)
    return [
        Pose(rotation_matrix(t / t.norm() * 0.2), 6 * s, scale)
        for t, s, scale in zip(turns, shifts, SCALES, strict=True)
    ]


@pytest.fixture(scope="module")
def learnt() -> tuple[Registration, list[Pose], list[tuple[int, int]]]:
    network = Registration(GRID, SPACING, RegistrationSettings())
    told: list[tuple[int, int]] = []
    poses = fit_prototype(network, [bone(p) for p in truths()], lambda *done: told.append(done))
    return network, poses, told


def test_all_poses_agree(learnt: tuple[Registration, list[Pose], list[tuple[int, int]]]) -> None:
    surface = POINTS[(bone(Pose.identity())[1].abs() < 1.25).flatten()]
    there = torch.stack(
        [pose(true.inverse()(surface)) for pose, true in zip(learnt[1], truths(), strict=True)]
    )
    apart = (there - there.mean(0)).norm(dim=2)
    assert apart.median() < 0.3 and apart.max() < 1


def test_the_mean_pose_is_no_move(learnt: tuple[Registration, list[Pose], list[tuple[int, int]]]) -> None:
    _, poses, _ = learnt
    assert torch.stack([p.shift for p in poses]).mean(0).abs().max() < 1e-9
    assert np.prod([p.scale for p in poses]) == pytest.approx(1, abs=1e-9)
    turns = torch.stack([p.rotation for p in poses])
    assert (turns @ turns.mT - torch.eye(3)).abs().max() < 1e-9


def test_the_prototype_is_that_shape(learnt: tuple[Registration, list[Pose], list[tuple[int, int]]]) -> None:
    network, poses, _ = learnt
    for pose, true in zip(poses, truths(), strict=True):
        whole = true.after(pose.inverse())  # from the prototype's frame to the shape's
        distance = bone(whole)[1]
        near = distance.abs() < 3
        assert near.sum() > 3000
        assert (network.prototype[1] - distance)[near].abs().median() < 0.2
        assert (network.prototype[1] - distance)[near].abs().quantile(0.99) < 1
    inside = network.prototype[1] < -2.5
    assert (network.prototype[0][inside] > 0.9).all()
    assert network.prototype[1].abs().max() <= 20


def test_every_round_is_told(learnt: tuple[Registration, list[Pose], list[tuple[int, int]]]) -> None:
    network, _, told = learnt
    rounds = network.settings.rounds
    assert told == [(i, rounds) for i in range(1, rounds + 1)]


def test_bones_are_left_alone() -> None:
    bones = [bone(p) for p in truths()[:2]]
    before = [b.clone() for b in bones]
    fit_prototype(Registration(GRID, SPACING, RegistrationSettings(rounds=1, steps=2)), bones)
    assert all(torch.equal(a, b) for a, b in zip(bones, before, strict=True))


def test_one_bone_is_its_own_prototype() -> None:
    network = Registration(GRID, SPACING, RegistrationSettings(rounds=2))
    (pose,) = fit_prototype(network, [bone(Pose.identity())])
    assert (pose.matrix() - torch.eye(4)).abs().max() < 1e-3
    near = bone(Pose.identity())[1].abs() < 5
    assert (network.prototype[1] - bone(Pose.identity())[1])[near].abs().max() < 0.05
