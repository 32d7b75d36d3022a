"""Poses are similarities in millimetres: on any grid, there and back, composed and inverted."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from kneeformer.geometry.aliases import Size
from kneeformer.networks.positions import points_from_middle
from kneeformer.shape_models.pose import Pose, rotation_matrix, sample, warp

GRID, SPACING = (12, 20, 31), (2.0, 1.0, 1.5)
VECTORS = [(0.3, -0.5, 0.2), (0.0, 0.0, 1.5), (-2.0, 1.1, 0.4), (1e-9, 0.0, 0.0)]


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def pose(seed: int, scale: float = 0.9) -> Pose:
    generator = torch.Generator().manual_seed(seed)
    turn = rotation_matrix(torch.randn(3, generator=generator, dtype=torch.float64))
    return Pose(turn, 4 * torch.randn(3, generator=generator, dtype=torch.float64), scale)


def ramp(points: Tensor) -> Tensor:
    """(points, 3) mm -> (2, points): two fields whose slopes per mm are not alike along any two axes."""
    slopes = torch.tensor([[0.5, -2.0, 3.0], [1.0, 0.25, -0.75]]).to(points)
    return slopes @ points.T + 7


def inside(points: Tensor) -> Tensor:
    """Whether points lie among the voxels of the grid."""
    half = torch.tensor([(n - 1) / 2 * s for n, s in zip(GRID, SPACING, strict=True)]).to(points)
    return (points.abs() <= half).all(1)


@pytest.mark.parametrize("vector", VECTORS)
def test_a_rotation_is_rigid(vector: tuple[float, float, float]) -> None:
    matrix = rotation_matrix(double(*vector))
    assert matrix.dtype == torch.float64
    assert (torch.linalg.svdvals(matrix) - 1).abs().max() < 1e-12
    assert float(torch.linalg.det(matrix)) == pytest.approx(1, abs=1e-12)
    assert np.allclose(matrix.numpy(), Rotation.from_rotvec(vector).as_matrix(), atol=1e-12)


def test_a_quarter_turn_about_the_first_axis_carries_the_second_to_the_third() -> None:
    matrix = rotation_matrix(double(torch.pi / 2, 0, 0))
    assert torch.allclose(matrix @ double(0, 1, 0), double(0, 0, 1), atol=1e-12)


@pytest.mark.parametrize("scale", [0.8, 1.0, 1.25])
def test_distances_scale_whatever_the_grid(scale: float) -> None:
    matrix = pose(1, scale).matrix()
    assert (torch.linalg.svdvals(matrix[:3, :3]) - scale).abs().max() < 1e-12
    points = points_from_middle(GRID, SPACING)[::97].double()
    moved = pose(1, scale)(points)
    apart, then = (p[1:] - p[:-1] for p in (points, moved))
    assert torch.allclose(then.norm(dim=1), scale * apart.norm(dim=1), rtol=1e-12)


def test_points_of_a_grid_are_mm_from_its_middle() -> None:
    points = points_from_middle(GRID, SPACING)
    assert points.shape == (12 * 20 * 31, 3)
    assert points[0].tolist() == [-11.0, -9.5, -22.5]
    assert points[1].tolist() == [-11.0, -9.5, -21.0]  # array order: x runs first
    assert points[-1].tolist() == [11.0, 9.5, 22.5]


def test_a_pose_is_its_matrix() -> None:
    points = points_from_middle((3, 4, 5), SPACING).double()
    lengthened = torch.cat([points, torch.ones(len(points), 1, dtype=torch.float64)], 1)
    assert torch.allclose((lengthened @ pose(2).matrix().T)[:, :3], pose(2)(points), atol=1e-12)


def test_poses_are_inverted_and_composed_exactly() -> None:
    first, second = pose(3, 0.9), pose(4, 1.2)
    identity = torch.eye(4, dtype=torch.float64)
    assert torch.equal(Pose.identity().matrix(), identity)
    for composed in (first.inverse().after(first), first.after(first.inverse())):
        assert (composed.matrix() - identity).abs().max() < 1e-12
    assert (second.after(first).matrix() - second.matrix() @ first.matrix()).abs().max() < 1e-12
    assert (first.inverse().matrix() - torch.linalg.inv(first.matrix())).abs().max() < 1e-12


def test_points_keep_their_type() -> None:
    points = points_from_middle((2, 2, 2), SPACING)
    assert points.dtype == pose(5)(points).dtype == torch.float32
    assert pose(5)(points.double()).dtype == torch.float64


def test_sampling_a_ramp_is_exact() -> None:
    volume = ramp(points_from_middle(GRID, SPACING).double()).reshape(2, *GRID)
    half = double(11.0, 9.5, 22.5)
    points = (2 * torch.rand(500, 3, generator=torch.Generator().manual_seed(0)).double() - 1) * half
    assert (sample(volume, points, SPACING) - ramp(points)).abs().max() < 1e-10


def test_beyond_the_grid_its_border_goes_on() -> None:
    volume = ramp(points_from_middle(GRID, SPACING).double()).reshape(2, *GRID)
    far, edge = double(30.0, -40.0, 0.0)[None], double(11.0, -9.5, 0.0)[None]
    assert torch.allclose(sample(volume, far, SPACING), ramp(edge))


@pytest.mark.parametrize("grid", [GRID, (9, 30, 14)])
def test_a_warped_ramp_is_the_ramp_at_the_points_it_came_from(grid: Size) -> None:
    volume = ramp(points_from_middle(GRID, SPACING)).reshape(2, *GRID)
    seen = warp(volume, pose(6), grid, SPACING)
    assert seen.shape == (2, *grid)
    came_from = pose(6).inverse()(points_from_middle(grid, SPACING))
    there = inside(came_from)
    assert there.sum() > 500
    assert (seen.flatten(1) - ramp(came_from))[:, there].abs().max() < 1e-3


def test_a_point_is_seen_where_the_pose_leads_it() -> None:
    middle = torch.tensor([[3.0, -2.0, 5.0]])
    blob = (-(points_from_middle(GRID, SPACING) - middle).square().sum(1) / 18).exp().reshape(1, *GRID)
    moved = Pose(rotation_matrix(double(0.2, -0.1, 0.4)), double(1.0, 2.0, -3.0), 1.1)
    seen = warp(blob, moved, GRID, SPACING)[0]
    weights = seen.flatten() / seen.sum()
    assert torch.allclose(weights @ points_from_middle(GRID, SPACING), moved(middle)[0], atol=0.1)


def test_there_and_back() -> None:
    blob = (-points_from_middle(GRID, SPACING).square().sum(1) / 18).exp().reshape(1, *GRID)
    moved = Pose(rotation_matrix(double(0.3, 0.2, -0.4)), double(1.0, -2.0, 3.0), 0.95)
    back = warp(warp(blob, moved, GRID, SPACING), moved.inverse(), GRID, SPACING)
    assert (back - blob).abs().max() < 0.15  # linear interpolation twice rounds its top off
    assert (back - blob).square().mean().sqrt() < 0.01
    middle = back.flatten() @ points_from_middle(GRID, SPACING) / back.sum()
    assert middle.norm() < 0.3
    assert torch.allclose(warp(blob, Pose.identity(), GRID, SPACING), blob, atol=1e-6)


def test_an_affine_map_is_rotation_times_stretch_and_composes_and_inverts() -> None:
    generator = torch.Generator().manual_seed(1)
    linear = torch.eye(3, dtype=torch.float64) + 0.2 * torch.randn(
        2, 3, 3, generator=generator, dtype=torch.float64
    )
    shift = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    first, second = (Pose.of(m, t) for m, t in zip(linear, shift, strict=True))
    assert torch.allclose(first.linear, linear[0]) and torch.allclose(first.shift, shift[0])
    assert torch.allclose(first.stretch, first.stretch.T)
    assert float(torch.linalg.det(first.stretch)) == pytest.approx(1)
    assert torch.allclose(second.after(first).matrix(), second.matrix() @ first.matrix())
    assert torch.allclose(first.inverse().matrix() @ first.matrix(), torch.eye(4, dtype=torch.float64))
    assert torch.allclose(first.inverse().stretch, first.inverse().stretch.T)
