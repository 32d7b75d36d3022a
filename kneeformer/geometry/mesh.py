"""Surfaces as triangles in patient coordinates: made from volumes, and measured."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy
import skimage

from kneeformer.errors import KneeformerError
from kneeformer.geometry.affine import transformed
from kneeformer.geometry.boxes import bounding_box, grown, slices
from kneeformer.geometry.grid import Grid

_SMOOTH = 0.7  # voxels, which removes the steps of a mask
_APART = 1e-3  # voxels, about, that vertices keep from voxel centres, so that float32 merges none


@dataclass(frozen=True)
class Mesh:
    """Triangles in patient space, with normals that point out of the object.

    Attributes:
        vertices: (n, 3) float64, (x, y, z) in LPS mm.
        faces: (m, 3) int64, rows of `vertices`, counter-clockwise seen from outside.
    """

    vertices: np.ndarray
    faces: np.ndarray

    @property
    def triangles(self) -> np.ndarray:
        """(m, 3, 3) float64 mm: (face, corner, coordinate)."""
        return np.asarray(self.vertices[self.faces])

    @cached_property
    def normals(self) -> np.ndarray:
        """(m, 3) float64 mm2: outward normals with lengths of twice the faces' areas."""
        a, b, c = self.triangles.transpose(1, 0, 2)
        return np.cross(b - a, c - a)

    @property
    def areas_mm2(self) -> np.ndarray:
        """(m,) float64: area of each face."""
        return np.asarray(np.linalg.norm(self.normals, axis=1) / 2)

    @property
    def signed_volume_mm3(self) -> float:
        """Volume inside a closed surface, by the divergence theorem; negative if it is inside out."""
        centred = self.triangles[:, 0] - self.vertices.mean(0)
        return float((centred * self.normals).sum() / 6)

    @property
    def centre_of_volume(self) -> np.ndarray:
        """(3,) float64 mm: centroid of the volume inside a closed surface."""
        middle = self.vertices.mean(0)
        corners = self.triangles - middle
        shares = (corners[:, 0] * self.normals).sum(1)  # of a tetrahedron with `middle`, times six
        return np.asarray(middle + (shares[:, None] * corners.sum(1)).sum(0) / 4 / shares.sum())

    @property
    def is_watertight(self) -> bool:
        """True where every edge belongs to exactly two faces, which run along it in opposite directions."""
        start, end = self.faces, np.roll(self.faces, -1, axis=1)
        forth = np.sort((start * len(self.vertices) + end).ravel())
        back = np.sort((end * len(self.vertices) + start).ravel())
        return bool((np.diff(forth) > 0).all() and np.array_equal(forth, back))

    def transformed(self, matrix: np.ndarray) -> "Mesh":
        """The mesh moved by an affine map; if that mirrors, faces are reversed to keep normals outward.

        Args:
            matrix: (4, 4), on (x, y, z, 1) in mm.
        """
        mirrors = np.linalg.det(matrix[:3, :3]) < 0
        faces = self.faces[:, ::-1] if mirrors else self.faces
        return Mesh(transformed(self.vertices, matrix), faces)


def surface_of(field: np.ndarray, level: float, grid: Grid) -> Mesh:
    """The surface between the voxels above a level and the others, by marching cubes.

    The surface is always closed: an object that the border cuts ends at the outer faces of its last voxels.
    All components are kept, and cavities, which have negative volumes. The algorithm is that of Lorensen and
    Cline (1987), whose table in scikit-image leaves neither holes nor edges of four faces; it separates two
    voxels that share only an edge. Values closer to the level than a thousandth of the usual step across the
    surface are moved to that distance. This shifts vertices by about 0.001 voxels and keeps them distinct.

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
    outward = faces[:, ::-1].astype(np.int64)  # scikit-image's normals point inward in (z, y, x)
    return Mesh(index, outward).transformed(grid.to_patient())


def surface_of_mask(mask: np.ndarray, grid: Grid) -> Mesh:
    """The smoothed surface of a mask (z, y, x); as it is where smoothing leaves nothing of a few voxels."""
    smooth = scipy.ndimage.gaussian_filter(mask.astype(np.float32), _SMOOTH)
    return surface_of(smooth if (smooth > 0.5).any() else mask, 0.5, grid)


def _closed(above: np.ndarray) -> np.ndarray:
    """The volume with a margin of one voxel, as far below zero as the border voxels are above it."""
    padded = np.pad(above, 1, mode="edge")
    for axis in range(3):
        ends = np.moveaxis(padded, axis, 0)
        ends[[0, -1]] = -np.abs(ends[[0, -1]])
    return padded


def _off_the_level(above: np.ndarray) -> np.ndarray:
    """The values moved away from zero, each on its own side; zero itself lies outside."""
    inside = above > 0
    steps = np.abs(np.diff(above, axis=0)[np.diff(inside, axis=0)])
    least = np.float32(_APART * np.median(steps))
    return np.asarray(np.where(inside, np.maximum(above, least), np.minimum(above, -least)))
