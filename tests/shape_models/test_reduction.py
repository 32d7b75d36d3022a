"""Fragments come back to where they were broken off."""

import math

import numpy as np
import pytest
import torch
from phantoms import FINE, anatomy, turned
from skimage.measure import marching_cubes
from torch import Tensor

from kneeformer.shape_models.fragment_misfit import FragmentSurface, Target
from kneeformer.shape_models.pose import Pose
from kneeformer.shape_models.reduction import reduce
from kneeformer.shape_models.rotations import angle_between

BONE = FINE.bone(anatomy(0))[1].double()
POINTS = FINE.points.double()
NOTHING_KEPT = torch.full_like(BONE, 1e3)


def broken_off(beyond_mm: float, moved: Pose) -> tuple[FragmentSurface, Tensor, Tensor]:
    """What lies above a height, moved: its surface, its middle, and where its points were."""
    above = (beyond_mm - POINTS[:, 0]).reshape(BONE.shape)
    vertices, faces, *_ = marching_cubes(-torch.maximum(BONE, above).numpy(), 0.0, method="lorensen")
    corners = torch.from_numpy((vertices - (np.array(BONE.shape) - 1) / 2) * FINE.spacing)[
        torch.from_numpy(faces.astype(np.int64))
    ]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = normals.norm(dim=1)
    chosen = torch.from_numpy(np.random.default_rng(0).choice(len(areas), 1000, p=areas / areas.sum()))
    was, normals = corners[chosen].mean(1), normals[chosen] / areas[chosen, None]
    normals = normals * torch.sign((normals * (was - was.mean(0))).sum(1).mean())  # outward
    lies = moved(was)
    middle = lies.mean(0)
    surface = FragmentSurface(lies - middle, normals @ moved.rotation.T, float(areas.sum()) / 2000)
    return surface, middle, was


def target(middle: Tensor, kept: Tensor = NOTHING_KEPT) -> Target:
    return Target(BONE, kept, FINE.spacing, middle)


@pytest.mark.parametrize("seed", range(3))
def test_a_fragment_comes_back(seed: int) -> None:
    moved = turned(12, 5, 1.0, seed=seed)
    surface, middle, was = broken_off(8.0, moved)
    kept = (POINTS[:, 0] - 8.0).reshape(BONE.shape).maximum(BONE)  # what is left below that height
    found = reduce(surface, target(middle, kept))
    apart = (found.motion(surface.points) + middle - was).norm(dim=1)
    before = (surface.points + middle - was).norm(dim=1)
    assert apart.mean() < 0.5 and before.mean() > 3
    assert found.residual_mm < 0.3 and found.rival_mm == 0 and found.deviation_mm < 2


def test_the_face_of_the_fracture_corrects_the_completed_bone() -> None:
    """The completed surface lies a millimetre too high; the kept bone pulls the fragment down."""
    moved = turned(10, 5, 1.0, seed=3)
    surface, middle, was = broken_off(8.0, moved)
    raised = Pose(torch.eye(3).double(), torch.tensor([-1.0, 0, 0]).double(), 1.0)
    bone = FINE.bone(anatomy(0), raised)[1].double()
    kept = (POINTS[:, 0] - 8.0).reshape(BONE.shape).maximum(BONE)

    motion = reduce(surface, Target(bone, kept, FINE.spacing, middle)).motion
    apart = (motion(surface.points) + middle - was).norm(dim=1).mean()
    left = angle_between(motion.rotation @ moved.rotation, torch.eye(3).double())
    assert apart < 0.75 and math.degrees(left) < 1


def test_a_fragment_in_its_place_stays() -> None:
    surface, middle, _ = broken_off(8.0, Pose.identity())
    found = reduce(surface, target(middle))
    moved = found.motion(surface.points) - surface.points
    assert moved.norm(dim=1).mean() < 0.3


def test_a_round_piece_leaves_its_place_open() -> None:
    """A ball inside the bone lies on no surface."""
    directions = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)).double()
    normals = directions / directions.norm(dim=1, keepdim=True)
    small = reduce(FragmentSurface(2 * normals, normals, 0.1), target(torch.zeros(3).double()))
    surface, middle, _ = broken_off(8.0, Pose.identity())
    whole = reduce(surface, target(middle))
    assert small.deviation_mm > 2 * whole.deviation_mm and small.turn_deviation > 2 * whole.turn_deviation
