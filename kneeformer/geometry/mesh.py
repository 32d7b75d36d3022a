"""Surfaces as triangles in patient coordinates: made from volumes, and measured."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import skimage

from kneeformer.errors import KneeformerError
from kneeformer.geometry.affine import transformed
from kneeformer.geometry.boxes import bounding_box, grown, slices
from kneeformer.geometry.grid import Grid

_APART = 1e-3  # voxels, about: no vertex is closer to a voxel's centre, so none fall together in float32


@dataclass(frozen=True)
class Mesh:
    """Triangles in patient space, wound so that their normals point out of the object.

    Attributes:
        vertices: (n, 3) float64, (x, y, z) in LPS mm.
        faces: (m, 3) int64, rows of `vertices`, counter-clockwise seen from outside.
    """

    vertices: np.ndarray
    faces: np.ndarray

    @property
    def triangles(self) -> np.ndarray:
        """(m, 3, 3) float64 mm: faces, their corners, (x, y, z)."""
        return np.asarray(self.vertices[self.faces])

    @cached_property
    def normals(self) -> np.ndarray:
        """(m, 3) float64 mm2: outward, each as long as twice its face's area."""
        a, b, c = self.triangles.transpose(1, 0, 2)
        return np.cross(b - a, c - a)

    @property
    def areas_mm2(self) -> np.ndarray:
        """(m,) float64: area of each face."""
        return np.asarray(np.linalg.norm(self.normals, axis=1) / 2)

    @property
    def signed_volume_mm3(self) -> float:
        """Volume inside a closed surface, by the divergence theorem; negative where it is inside out."""
        centred = self.triangles[:, 0] - self.vertices.mean(0)
        return float((centred * self.normals).sum() / 6)

    @property
    def centre_of_volume(self) -> np.ndarray:
        """(3,) float64 mm: centre of gravity of what a closed surface encloses."""
        middle = self.vertices.mean(0)
        corners = self.triangles - middle
        shares = (corners[:, 0] * self.normals).sum(1)  # of a tetrahedron with `middle`, times six
        return np.asarray(middle + (shares[:, None] * corners.sum(1)).sum(0) / 4 / shares.sum())

    @property
    def is_watertight(self) -> bool:
        """Every edge belongs to exactly two faces, which run along it in opposite directions."""
        start, end = self.faces, np.roll(self.faces, -1, axis=1)
        forth = np.sort((start * len(self.vertices) + end).ravel())
        back = np.sort((end * len(self.vertices) + start).ravel())
        return bool((np.diff(forth) > 0).all() and np.array_equal(forth, back))

    def transformed(self, matrix: np.ndarray) -> "Mesh":
        """Moved by an affine map; a map that mirrors turns the faces, so that normals still point outward.

        Args:
            matrix: (4, 4), on (x, y, z, 1) in mm.
        """
        mirrors = np.linalg.det(matrix[:3, :3]) < 0
        faces = self.faces[:, ::-1] if mirrors else self.faces
        return Mesh(transformed(self.vertices, matrix), faces)


def surface_of(field: np.ndarray, level: float, grid: Grid) -> Mesh:
    """The surface between the voxels above a level and the others, by marching cubes.

    Closed always: outside the volume there is no object, and one that the border cuts ends at the outer
    faces of its last voxels. All components are kept, and cavities, whose volume counts as negative. Of
    the two algorithms of scikit-image it is Lorensen and Cline's (1987), whose table leaves neither holes
    nor edges of four faces; where two voxels of the object meet by an edge alone it separates them.
    Values within a thousandth of the usual step across the surface are taken to be that far off the
    level: this moves vertices by about 0.001 voxels and leaves no two of them at one place.

    Args:
        field: (z, y, x) bool or finite real numbers; a mask's level is 0.5.
        level: of the same unit.
        grid: where the voxels lie; oblique and mirrored grids too.

    Raises:
        KneeformerError: no voxel is above the level.
    """
    inside = field > level
    if not inside.any():
        raise KneeformerError(
            f"there is no surface: no voxel is above {level:g}; the mask or volume is empty"
        )
    z, y, x = slices(grown(bounding_box(inside), (1, 1, 1), inside.shape))
    above = np.subtract(field[z, y, x], level, dtype=np.float64).astype(np.float32)
    vertices, faces, _, _ = skimage.measure.marching_cubes(
        _off_the_level(_closed(above)), 0.0, method="lorensen"
    )
    index = vertices + np.array([z.start - 1, y.start - 1, x.start - 1], np.float64)
    outward = faces[:, ::-1].astype(np.int64)  # as they come, they point inward in (z, y, x)
    return Mesh(index, outward).transformed(grid.to_patient())


def _closed(above: np.ndarray) -> np.ndarray:
    """One voxel more on every side, as far below zero as the last voxel inside is above it."""
    padded = np.pad(above, 1, mode="edge")
    for axis in range(3):
        ends = np.moveaxis(padded, axis, 0)
        ends[[0, -1]] = -np.abs(ends[[0, -1]])
    return padded


def _off_the_level(above: np.ndarray) -> np.ndarray:
    """Nothing too close to zero, and all on their own side of it; zero itself lies outside."""
    inside = above > 0
    steps = np.abs(np.diff(above, axis=0)[np.diff(inside, axis=0)])
    least = np.float32(_APART * np.median(steps))
    return np.asarray(np.where(inside, np.maximum(above, least), np.minimum(above, -least)))
