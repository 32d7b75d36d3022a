"""Distance between two triangle surfaces in mm, point to triangle.

Unlike distances between voxels (`surface_distance`), these have no steps of the grid: they show a surface
that is off by a tenth of a voxel.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy

from kneeformer.geometry.mesh import Mesh

Predicate = Callable[[np.ndarray], np.ndarray]  # (n, 3) LPS mm -> (n,) bool

_IN_A_PATCH = 16  # triangles, about
_AT_ONCE = 200_000  # pairs of a point and a triangle or patch: below 100 MB
_ROUNDING_MM = 1e-9  # bounds closer than this are the same


@dataclass(frozen=True)
class _Cylinders:
    """Cylinders around triangles or patches of triangles, one per row.

    Attributes:
        centres: (n, 3) mm.
        axes: (n, 3) unit vectors; zero stands for a ball.
        radii: (n,) mm, from the centre in any direction.
        heights: (n,) mm along the axis, above the centre and below it.
    """

    centres: np.ndarray
    axes: np.ndarray
    radii: np.ndarray
    heights: np.ndarray

    def bound(self, points: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(k,) mm2 lower bound of the squared distance from point i to the content of cylinder rows[i]."""
        offset, axes = points - self.centres[rows], self.axes[rows]
        along = _dot(offset, axes)
        beside = np.sqrt(np.maximum(_dot(offset, offset) - along**2, 0))
        above = np.maximum(np.abs(along) - self.heights[rows] - _ROUNDING_MM, 0)
        return np.asarray(above**2 + np.maximum(beside - self.radii[rows] - _ROUNDING_MM, 0) ** 2)


class _Surface:
    """A mesh sorted into patches of neighbouring triangles."""

    def __init__(self, mesh: Mesh) -> None:
        centroids, edge = mesh.triangles.mean(1), math.sqrt(_IN_A_PATCH * mesh.areas_mm2.mean()) or 1.0
        cells = np.floor(centroids / edge).astype(np.int64)
        patch = np.unique(cells, axis=0, return_inverse=True)[1].ravel()
        order = np.argsort(patch, kind="stable")
        self.triangles, self.normals = mesh.triangles[order], _unit(mesh.normals[order])
        self.counts = np.bincount(patch)
        self.starts = np.cumsum(self.counts) - self.counts
        self.boxes = self._boxes(self.triangles.mean(1), self.normals, np.arange(len(order)))
        centres = self._sums(self.boxes.centres) / self.counts[:, None]
        self.patches = self._boxes(centres, _unit(self._sums(mesh.normals[order])), patch[order])
        self.tree = scipy.spatial.cKDTree(self.patches.centres)

    def _sums(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(np.add.reduceat(values, self.starts, axis=0))

    def _boxes(self, centres: np.ndarray, axes: np.ndarray, owner: np.ndarray) -> _Cylinders:
        """The smallest cylinders with these centres and axes; `owner` assigns a cylinder to each triangle."""
        offsets = self.triangles - centres[owner][:, None]
        radii, heights = np.zeros(len(centres)), np.zeros(len(centres))
        np.maximum.at(radii, owner, np.linalg.norm(offsets, axis=2).max(1))
        np.maximum.at(heights, owner, np.abs(np.einsum("ijk,ik->ij", offsets, axes[owner])).max(1))
        return _Cylinders(centres, axes, radii, heights)

    def faces_of(self, patches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of `patches`, repeated for each triangle of the patch, and the triangles."""
        counts = self.counts[patches]
        owner = np.repeat(np.arange(len(patches)), counts)
        first = np.repeat(self.starts[patches] - (np.cumsum(counts) - counts), counts)
        return owner, first + np.arange(len(owner))


def distances_to_mesh(points: np.ndarray, mesh: Mesh) -> np.ndarray:
    """The exact distance from each point to the nearest place on a surface.

    A centroid in the nearest patch of triangles gives an upper bound. Within it, patches and then triangles
    are measured unless their bounding cylinder is farther. This is fast for triangles of similar size, as
    from marching cubes, and exact for any.

    Args:
        points: (n, 3) LPS mm.
        mesh: with one face at least.

    Returns:
        (n,) float64 mm.
    """
    surface = _Surface(mesh)
    squared = np.full(len(points), np.inf)
    for rows in _chunks(np.full(len(points), surface.counts.max())):
        owner, face = surface.faces_of(surface.tree.query(points[rows])[1])
        offset = points[rows[owner]] - surface.boxes.centres[face]
        np.minimum.at(squared, rows[owner], _dot(offset, offset))
    reach = np.sqrt(squared) + surface.patches.radii.max() + _ROUNDING_MM
    for rows in _chunks(surface.tree.query_ball_point(points, reach, return_length=True)):
        found = surface.tree.query_ball_point(points[rows], reach[rows], return_sorted=False)
        owner = np.repeat(rows, [len(patches) for patches in found])
        _approach(points, squared, surface, owner, np.concatenate(found).astype(np.int64))
    return np.asarray(np.sqrt(squared))


def sample_surface(mesh: Mesh, count: int, rng: np.random.Generator) -> np.ndarray:
    """Points drawn uniformly from a surface, faces weighted by area.

    Returns:
        (count, 3) float64 LPS mm.
    """
    areas = mesh.areas_mm2
    a, b, c = mesh.triangles[rng.choice(len(areas), count, p=areas / areas.sum())].transpose(1, 0, 2)
    u, v = rng.random((2, count, 1))
    beyond = u + v > 1  # in the other half of the parallelogram
    u, v = np.where(beyond, 1 - u, u), np.where(beyond, 1 - v, v)
    return np.asarray(a + u * (b - a) + v * (c - a))


def rmsd(
    first: Mesh, second: Mesh, samples: int = 10_000, seed: int = 0, within: Predicate | None = None
) -> float:
    """Root mean square distance between two surfaces in mm, both directions pooled.

        RMSD = sqrt((sum d(a, B)^2 + sum d(b, A)^2) / (|a| + |b|))

    with a and b points drawn uniformly from the surfaces A and B. It is symmetric except for the draw.

    Args:
        first, second: surfaces with an area.
        samples: drawn from each of them.
        seed: of the draw.
        within: which samples count; distances still run to the whole other surface.

    Returns:
        mm; NaN where no sample is within.
    """
    rng = np.random.default_rng(seed)
    distances = []
    for start, target in ((first, second), (second, first)):
        points = sample_surface(start, samples, rng)
        if within is not None:
            points = points[within(points)]
        distances.append(distances_to_mesh(points, target))
    pooled = np.concatenate(distances)
    return float(np.sqrt(np.mean(pooled**2))) if len(pooled) else math.nan


def _approach(
    points: np.ndarray, squared: np.ndarray, surface: _Surface, owner: np.ndarray, patch: np.ndarray
) -> None:
    """Lower the squared distances of points `owner` by the triangles in the patches of the same rows."""
    near = surface.patches.bound(points[owner], patch) < squared[owner]
    owner, patch = owner[near], patch[near]
    for rows in _chunks(surface.counts[patch]):
        pair, face = surface.faces_of(patch[rows])
        point = owner[rows][pair]
        near = surface.boxes.bound(points[point], face) < squared[point]
        point, face = point[near], face[near]
        found = _squared(points[point], surface.triangles[face], surface.normals[face])
        np.minimum.at(squared, point, found)


def _chunks(counts: np.ndarray) -> Iterator[np.ndarray]:
    """Consecutive rows whose counts add up to about _AT_ONCE."""
    chunk = np.cumsum(counts) // _AT_ONCE
    rows = np.arange(len(counts))
    return (part for part in np.split(rows, np.flatnonzero(np.diff(chunk)) + 1) if len(part))


def _squared(points: np.ndarray, triangles: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """(n,) mm2: squared distance of each point to its own triangle, either to its plane or to an edge.

    Args:
        points: (n, 3).
        triangles: (n, 3, 3): corners, (x, y, z).
        normals: (n, 3) of length one, or zero where the triangle has no area.
    """
    best = np.full(len(points), np.inf)
    above = np.any(normals, axis=1)
    for corner in range(3):
        edge = triangles[:, (corner + 1) % 3] - triangles[:, corner]
        offset = points - triangles[:, corner]
        length = np.maximum(_dot(edge, edge), np.finfo(np.float64).tiny)
        along = np.clip(_dot(offset, edge) / length, 0, 1)
        beside = offset - along[:, None] * edge
        best = np.minimum(best, _dot(beside, beside))
        above &= _dot(np.cross(normals, edge), offset) >= 0
    height = _dot(points - triangles[:, 0], normals)
    return np.asarray(np.where(above, height**2, best))


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Unit vectors; zero stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0))


def _dot(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("ij,ij->i", first, second))
