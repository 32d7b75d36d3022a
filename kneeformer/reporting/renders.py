"""Still pictures of surfaces, shaded by matplotlib alone: without display or GPU."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kneeformer.geometry.decimation import simplified
from kneeformer.geometry.grid import Grid
from kneeformer.geometry.mesh import Mesh
from kneeformer.geometry.smooth_structure import smooth_structure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FACES, _VOXEL_MM = 40_000, 0.9  # a picture shows no more and no finer ones
_RUGGED = 60_000  # voxel faces at a mask's border; only noise and long bones have more
_KEY, _FILL = np.array([-0.45, -0.75, 0.55]), np.array([0.8, -0.5, -0.1])  # lights: right, back, up
_AMBIENT, _DIFFUSE, _FILLED, _GLOSS = 0.30, 0.62, 0.18, 0.16


@dataclass(frozen=True)
class Surface:
    """A surface to render.

    Attributes:
        colours: (vertices, 3) or (3,), red, green and blue from 0 to 1.
    """

    mesh: Mesh
    colours: np.ndarray


def smooth_surface(mask: np.ndarray, grid: Grid) -> Mesh:
    """The surface of a mask (z, y, x), not empty, as fine as a picture can show; only for pictures."""
    part, coarse = _coarser(mask, grid, _VOXEL_MM)
    rugged = math.sqrt(_border_faces(part) / _RUGGED)
    if rugged > 1:
        part, coarse = _coarser(mask, grid, rugged * _VOXEL_MM)
    return simplified(smooth_structure(part, coarse, volume_error=math.inf).surface, _FACES)


def _coarser(mask: np.ndarray, grid: Grid, mm: float) -> tuple[np.ndarray, Grid]:
    """The mask thinned to voxels about `mm` apart, with its grid; unchanged if none would be left."""
    steps = [max(1, int(mm / spacing)) for spacing in grid.spacing]
    part = mask[:: steps[0], :: steps[1], :: steps[2]]
    if not part.any():
        return mask, grid
    z, y, x = (spacing * step for spacing, step in zip(grid.spacing, steps, strict=True))
    shape = (part.shape[0], part.shape[1], part.shape[2])
    return part, Grid(shape, (z, y, x), grid.origin, grid.direction)


def _border_faces(mask: np.ndarray) -> int:
    """Number of voxel faces between a mask and the rest."""
    return sum(int(np.count_nonzero(np.diff(mask, axis=axis))) for axis in range(3))


def extent_mm(surfaces: Sequence[Surface], degrees: float) -> tuple[float, float]:
    """Height and width of what `render` shows, with a margin."""
    points = np.concatenate([_seen(s.mesh.vertices, degrees) for s in surfaces])
    wide, _, high = np.ptp(points, axis=0) * 1.08
    return float(high), float(wide)


def degrees_towards(vertices: np.ndarray, part: np.ndarray) -> float:
    """Degrees, as in `render`, at which a part of a surface faces the observer; 0 if the part is empty.

    Args:
        vertices: (n, 3) LPS mm.
        part: (n,) bool.
    """
    if not part.any():
        return 0.0
    left, back, _ = vertices[part].mean(0) - vertices.mean(0)
    return float(np.degrees(np.arctan2(left, -back)))


def render(axes: "Axes", surfaces: Sequence[Surface], degrees: float) -> None:
    """Draw surfaces in parallel projection, as an observer standing in front of the patient sees them.

    Triangles are shaded from corner to corner (Gouraud, 1971) and drawn from far to near.

    Args:
        degrees: angle by which the observer walks around the patient, towards the patient's left: 0 shows
            the front, 90 the left side, 180 the back.
    """
    from matplotlib.collections import TriMesh
    from matplotlib.tri import Triangulation

    points, colours, faces, count = [], [], [], 0
    for surface in surfaces:
        seen, normals = _seen(surface.mesh.vertices, degrees), _seen(_vertex_normals(surface.mesh), degrees)
        points.append(seen)
        colours.append(_lit(np.broadcast_to(surface.colours, seen.shape), normals))
        faces.append(surface.mesh.faces + count)
        count += len(seen)
    at, triangles = np.concatenate(points), np.concatenate(faces)
    a, b, c = (at[triangles[:, i]] for i in range(3))
    across, up = (b - a)[:, [0, 2]], (c - a)[:, [0, 2]]
    triangles = triangles[across[:, 0] * up[:, 1] > across[:, 1] * up[:, 0]]  # those that face the observer
    far_first = np.argsort(-at[triangles, 1].mean(1))
    drawing = TriMesh(Triangulation(at[:, 0], at[:, 2], triangles[far_first]))
    shades: Any = np.concatenate(colours)  # it takes an array, although its types do not say so
    drawing.set_facecolor(shades)
    axes.add_collection(drawing, autolim=False)  # limits are set below, which saves one path per triangle
    low, high = at.min(0), at.max(0)
    margin = 0.04 * (high - low)
    axes.set_xlim(low[0] - margin[0], high[0] + margin[0])
    axes.set_ylim(low[2] - margin[2], high[2] + margin[2])


def _seen(vectors: np.ndarray, degrees: float) -> np.ndarray:
    """(n, 3) LPS vectors in the observer's axes: to the right, away, up."""
    angle = np.deg2rad(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    turned = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    return np.asarray(vectors @ turned.T)


def _vertex_normals(mesh: Mesh) -> np.ndarray:
    """(vertices, 3) unit normals: means over the faces of each vertex, weighted by area."""
    sums = np.zeros_like(mesh.vertices)
    for corner in range(3):
        for axis in range(3):
            sums[:, axis] += np.bincount(
                mesh.faces[:, corner], weights=mesh.normals[:, axis], minlength=len(sums)
            )
    return np.asarray(sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12))


def _lit(colours: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """(vertices, 4) colours under a key light, a fill light and a little gloss (Blinn and Phong, 1977)."""
    key, fill = (light / np.linalg.norm(light) for light in (_KEY, _FILL))
    half = key + np.array([0.0, -1.0, 0.0])
    gloss = (normals @ (half / np.linalg.norm(half))).clip(0) ** 24
    light = _AMBIENT + _DIFFUSE * (normals @ key).clip(0) + _FILLED * (normals @ fill).clip(0)
    shaded = colours * light[:, None] + _GLOSS * gloss[:, None]
    return np.column_stack([shaded.clip(0, 1), np.ones(len(shaded))])
