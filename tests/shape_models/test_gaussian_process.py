"""Bones as a Gaussian process: its covariance by hand, and what conditioning on visible bone must keep."""

import math

import torch
from phantoms import COARSE, anatomy
from torch import Tensor

from kneeformer.networks.positions import points_from_middle
from kneeformer.shape_models.gaussian_process import GaussianProcess, motion_modes
from kneeformer.shape_models.kriging import even_voxels_beside, matern
from kneeformer.shape_models.pose import Pose, rotation_matrix
from kneeformer.shape_models.priors import Pca
from kneeformer.shape_models.registration import Motion
from kneeformer.shape_models.settings import PriorSettings

GRID, SPACING = (6, 7, 8), (3.0, 3.0, 3.0)
POINTS = points_from_middle(GRID, SPACING)
STEP = torch.tensor([1.0] * 3 + [math.radians(1)] * 3 + [0.015])
MOTION = Motion(torch.zeros(7), STEP)
SETTINGS = PriorSettings(kind="gp", components=3, correlation_mm=6.0, locality_mm=12.0)


def planes() -> Tensor:
    """(bones, 2, z, y, x): surfaces across y that are shifted, and turned about x."""
    z, y = POINTS[:, 0], POINTS[:, 1]
    fields = [y, y + 1, y - 1 + 0.1 * z, y + 0.5 - 0.1 * z]
    return torch.stack([torch.stack([(f < 0).float(), f]) for f in fields]).reshape(4, 2, *GRID)


def fitted() -> GaussianProcess:
    prior = GaussianProcess(GRID, SPACING, SETTINGS)
    prior.fit(planes())
    return prior


def left_half() -> Tensor:
    return (POINTS[:, 2] < 0).reshape(GRID)


def test_it_is_regression_with_the_covariance_of_the_bones() -> None:
    """Few voxels, so each visible one is a block: the formula of the module, as one dense system."""
    prior, known = fitted(), left_half()
    image = planes()[1].clone()
    image[1] += (0.5 * (POINTS[:, 0] / 5).sin()).reshape(GRID)
    shifted = Motion(torch.tensor([0, 0.3, 0, 0, 0, 0, 0]), STEP)  # mm, more likely than none
    whole = prior.corrected(prior.complete(image, known), image, known, shifted)
    seen = (known & (image[1].abs() < 4.5)).flatten().nonzero()[:, 0]
    hidden = (~known & (image[1].abs() < 5)).flatten().nonzero()[:, 0]
    assert len(seen) > 60 and len(hidden) > 60

    modes, apart = prior.modes[:, 1].flatten(1).double(), torch.cdist(POINTS, POINTS).double()
    moved = motion_modes(prior.complete(image, known).image[1], POINTS, SPACING).double()
    expected = prior.mean[1].flatten() + 0.3 * moved[1]
    moved = STEP[:, None] * moved
    error = float(prior.noise_mm) ** 2
    bones = (modes.T @ modes) * (1 + matern(apart, 12.0)) / 2
    covariance = bones + error * matern(apart, 6.0) + moved.T @ moved
    among = covariance[seen][:, seen] + 0.1 * error * torch.eye(len(seen))
    cross, away = covariance[hidden][:, seen], image[1].flatten()[seen] - expected[seen]
    wanted = expected[hidden] + cross @ torch.linalg.solve(among, away)
    left = covariance.diagonal()[hidden] - (cross * torch.linalg.solve(among, cross.T).T).sum(1)
    assert torch.allclose(whole.image[1].flatten()[hidden].double(), wanted, atol=1e-3)
    assert whole.deviation_mm is not None
    deviation = whole.deviation_mm.flatten()[hidden].double()
    even = torch.tensor([n in set(even_voxels_beside(~known).tolist()) for n in hidden.tolist()])
    assert 5 < even.sum() < len(hidden) / 4
    assert torch.allclose(deviation[even], left.sqrt()[even], atol=5e-3)
    assert (deviation / left.sqrt() - 1).abs().mean() < 0.1


def test_what_is_known_stays_and_is_sure() -> None:
    prior, known, image = fitted(), left_half(), planes()[2]
    whole = prior.corrected(prior.complete(image, known), image, known, MOTION)
    assert torch.equal(whole.image[1][known], image[1][known])
    assert whole.deviation_mm is not None and (whole.deviation_mm[known] == 0).all()
    assert (whole.deviation_mm[~known] > 0).all()


def test_with_nothing_visible_the_components_answer() -> None:
    prior, image, known = fitted(), planes()[2], torch.zeros(GRID, dtype=torch.bool)
    guess = prior.complete(image, known)
    whole = prior.corrected(guess, image, known, MOTION)
    assert torch.equal(whole.image, guess.image)
    assert whole.deviation_mm is not None and guess.deviation_mm is not None
    assert torch.equal(whole.deviation_mm, guess.deviation_mm)


def test_with_nothing_hidden_the_bone_is_as_it_is() -> None:
    prior, known = fitted(), torch.ones(GRID, dtype=torch.bool)
    image = planes()[2] + (POINTS[:, 2] / 5).sin().reshape(GRID)  # no combination of the others
    whole = prior.corrected(prior.complete(image, known), image, known, MOTION)
    assert torch.equal(whole.image[1], image[1])
    assert whole.deviation_mm is not None and (whole.deviation_mm == 0).all()


def test_what_components_cannot_span_is_followed_nearby() -> None:
    """Tibias of six people; a seventh has a bump that reaches from what is seen into what is hidden."""
    bones = torch.stack([COARSE.bone(anatomy(seed)) for seed in range(1, 7)])
    image = COARSE.bone(anatomy(7))
    places = COARSE.surface(image)
    away = torch.linalg.vector_norm(COARSE.points - places[len(places) // 2], dim=1).reshape(COARSE.grid)
    image[1] -= 4 * torch.exp(-((away / 15) ** 2))
    known = ((COARSE.points - places[len(places) // 2])[:, 0] < -2).reshape(COARSE.grid)
    hidden = ~known & (image[1].abs() < 4) & (away < 20)
    errors = {}
    for made in (GaussianProcess, Pca):
        prior = made(COARSE.grid, COARSE.spacing, PriorSettings(components=5))
        prior.fit(bones)
        guess = prior.complete(image, known)
        found = prior.corrected(guess, image, known, MOTION) if made is GaussianProcess else guess
        errors[made] = float((found.image[1] - image[1])[hidden].abs().mean())
    assert errors[GaussianProcess] < 0.6 * errors[Pca]


def test_errors_of_a_pose_are_what_it_does_to_distances() -> None:
    """Against shapes that are shifted by 1 mm, turned by a degree about the middle, or grown by 1.5 %."""
    middle = torch.tensor([3.0, -8.0, 5.0])

    def ball(pose: Pose) -> Tensor:
        there = pose(COARSE.points.double()).float()
        return ((there - middle) * torch.tensor([1.0, 1.5, 0.7])).norm(dim=1) / pose.scale

    same, none = torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    moved = [Pose(same, axis, 1.0) for axis in same]
    moved += [Pose(rotation_matrix(math.radians(1) * axis), none, 1.0) for axis in same]
    moved += [Pose(same, none, 1.015)]
    plain = ball(Pose.identity())
    errors = motion_modes(plain.reshape(COARSE.grid), COARSE.points, COARSE.spacing) * STEP[:, None]
    inner = torch.zeros(COARSE.grid, dtype=torch.bool)
    inner[2:-2, 2:-2, 2:-2] = True
    smooth = inner.flatten() & (plain > 15)
    for error, pose in zip(errors, moved, strict=True):
        done = (ball(pose) - plain)[smooth]
        assert torch.allclose(error[smooth], done, atol=0.06 + 0.05 * float(done.abs().max()))
