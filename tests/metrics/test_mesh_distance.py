"""Distances to triangles by hand and by brute force, and of surfaces whose distance is known."""

import math
import time

import numpy as np
import pytest

from kneeformer.geometry.grid import Grid
from kneeformer.geometry.mesh import Mesh, surface_of
from kneeformer.metrics.mesh_distance import distances_to_mesh, rmsd, sample_surface

# Corners (0, 0, 0), (4, 0, 0), (0, 3, 0); the long side lies on 3 x + 4 y = 12.
TRIANGLE = Mesh(np.array([[0, 0, 0], [4, 0, 0], [0, 3, 0]], np.float64), np.array([[0, 1, 2]]))


def ball(
    radius_mm: float, centre_mm: tuple[float, float, float] = (0, 0, 0), size: int = 50, edge: float = 0.6
) -> Mesh:
    half = (size - 1) / 2 * edge
    z, y, x = (np.arange(size) * edge - half - c for c in centre_mm[::-1])
    inside = radius_mm - np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)
    return surface_of(inside, 0.0, Grid((size,) * 3, (edge,) * 3, (-half,) * 3))


def brute_force(points: np.ndarray, mesh: Mesh) -> np.ndarray:
    """All pairs by another way: the best of the plane's foot, three edges and three corners, as weights."""
    best = np.full(len(points), np.inf)
    for a, b, c in mesh.triangles:
        sides = np.stack([b - a, c - a], axis=1)
        u, v = np.linalg.lstsq(sides, (points - a).T, rcond=None)[0]
        feet = [np.where(((u >= 0) & (v >= 0) & (u + v <= 1))[:, None], a + np.stack([u, v], 1) @ sides.T, a)]
        for start, end in ((a, b), (b, c), (c, a)):
            along = (points - start) @ (end - start) / ((end - start) @ (end - start))
            feet.append(start + np.clip(along, 0, 1)[:, None] * (end - start))
        best = np.minimum(best, np.min([np.linalg.norm(points - foot, axis=1) for foot in feet], axis=0))
    return best


@pytest.mark.parametrize(
    ("point", "distance"),
    [
        ((1, 1, 2), 2),  # above the face
        ((1, 1, -2), 2),  # below it
        ((1, 0.5, 0), 0),  # in it
        ((2, -3, 4), 5),  # off the edge along x
        ((-3, 1, 4), 5),  # off the edge along y
        ((2 + 3, 1.5 + 4, 0), 5),  # off the long side, whose normal is (3, 4) / 5
        ((2 + 3, 1.5 + 4, 12), 13),
        ((-3, -4, 12), 13),  # off the right angle
        ((4 + 12, -3, 4), 13),  # off the corner on x
        ((-3, 3 + 4, 12), 13),  # off the corner on y
    ],
)
def test_one_triangle_by_hand(point: tuple[float, ...], distance: float) -> None:
    assert distances_to_mesh(np.array([point], np.float64), TRIANGLE) == pytest.approx(distance)


def test_triangles_without_an_area_are_lines_and_points() -> None:
    vertices = np.array([[0, 0, 0], [4, 0, 0], [8, 0, 0], [0, 9, 0]], np.float64)
    line_and_point = Mesh(vertices, np.array([[0, 2, 1], [3, 3, 3]]))
    points = np.array([[5, 3, 4], [11, 0, 4], [0, 9, 1]], np.float64)
    np.testing.assert_allclose(distances_to_mesh(points, line_and_point), [5, 5, 1])


@pytest.mark.parametrize("largest_mm", [0.5, 5.0, 60.0])
def test_agrees_with_all_pairs(largest_mm: float) -> None:
    """Small, large and mixed triangles anywhere, and points far and near."""
    rng = np.random.default_rng(int(largest_mm))
    corners = rng.uniform(-20, 20, (60, 1, 3)) + rng.uniform(-1, 1, (60, 3, 3)) * np.geomspace(
        0.1, largest_mm, 60
    ).reshape(-1, 1, 1)
    mesh = Mesh(corners.reshape(-1, 3), np.arange(180).reshape(-1, 3))
    points = np.vstack([rng.uniform(-30, 30, (150, 3)), rng.uniform(-500, 500, (50, 3))])
    np.testing.assert_allclose(distances_to_mesh(points, mesh), brute_force(points, mesh), atol=1e-9)


def test_agrees_with_all_pairs_on_a_surface() -> None:
    mesh = ball(5.0, size=20)
    rng = np.random.default_rng(0)
    points = np.vstack(
        [sample_surface(mesh, 50, rng) + rng.normal(0, 0.2, (50, 3)), rng.normal(0, 5, (50, 3))]
    )
    points[0] = 0  # as far from everywhere
    np.testing.assert_allclose(distances_to_mesh(points, mesh), brute_force(points, mesh), atol=1e-9)


def test_no_points_have_no_distances() -> None:
    assert distances_to_mesh(np.zeros((0, 3)), TRIANGLE).shape == (0,)


def test_samples_lie_on_the_faces_and_go_by_area() -> None:
    """Beside TRIANGLE, area 6, a second one of area 2: three quarters fall on the first."""
    vertices = np.vstack([TRIANGLE.vertices, [[10, 0, 5], [12, 0, 5], [10, 2, 5]]])
    both = Mesh(vertices, np.array([[0, 1, 2], [3, 4, 5]]))
    points = sample_surface(both, 20_000, np.random.default_rng(0))
    first = points[points[:, 2] == 0]
    assert points.shape == (20_000, 3) and distances_to_mesh(points, both).max() < 1e-9
    assert len(first) / 20_000 == pytest.approx(0.75, abs=0.01)
    np.testing.assert_allclose(first.mean(0), [4 / 3, 1, 0], atol=0.03)  # the centroid


def test_concentric_balls_are_the_difference_of_their_radii_apart() -> None:
    assert rmsd(ball(10.0), ball(12.0)) == pytest.approx(2.0, abs=0.01)


def test_a_small_shift_of_a_ball() -> None:
    """Along the normal it is the shift's share, cosine of the angle: its mean square is a third."""
    assert rmsd(ball(12.0), ball(12.0, (0.3, 0, 0))) == pytest.approx(0.3 / np.sqrt(3), rel=0.03)


def test_a_shift_of_a_plate_far_beyond_its_thickness() -> None:
    plate = Mesh(TRIANGLE.vertices, np.array([[0, 1, 2], [0, 2, 1]]))
    moved = Mesh(plate.vertices + np.array([0, 0, 7]), plate.faces)
    assert rmsd(plate, moved) == pytest.approx(7.0)
    assert rmsd(moved, plate) == pytest.approx(7.0)


def test_equal_surfaces_are_nowhere_apart_and_draws_repeat() -> None:
    first, second = ball(8.0), ball(8.0, (0.5, 0, 0))
    assert rmsd(first, first) < 1e-9
    assert rmsd(first, second, samples=500) == rmsd(first, second, samples=500)
    assert rmsd(first, second, samples=500) != rmsd(first, second, samples=500, seed=1)


def test_within_a_region() -> None:
    """Distances are the cosine u of the angle, about, and u is even over a ball: 0.9 to 1 on the first one,
    0.8 to 1, and so twice as many samples, on the second."""
    first, second = ball(10.0), ball(10.0, (1.0, 0, 0))
    ahead = rmsd(first, second, within=lambda points: points[:, 0] > 9)
    beside = rmsd(first, second, within=lambda points: np.abs(points[:, 0]) < 1)
    squares = (1 - 0.9**3) / 3 / 0.1, (1 - 0.8**3) / 3 / 0.2
    assert ahead == pytest.approx(np.sqrt((squares[0] + 2 * squares[1]) / 3), abs=0.02) and beside < 0.15
    assert math.isnan(rmsd(first, second, within=lambda points: points[:, 0] > 20))


def test_ten_thousand_points_to_sixty_thousand_triangles_are_quick() -> None:
    mesh = ball(25.0, size=100)
    points = sample_surface(ball(24.0, size=100), 10_000, np.random.default_rng(0))
    start = time.process_time()
    distances = distances_to_mesh(points, mesh)
    assert time.process_time() - start < 4  # 0.5 s; slack for a busy machine
    assert len(mesh.faces) > 60_000 and np.abs(distances - 1).max() < 0.02
