"""Reduction of the triangles of a surface."""

import fast_simplification
import numpy as np
import scipy

from kneeformer.geometry.mesh import Mesh

_CHANGED = 0.1  # share by which the volume may change
_APART = 0.02  # share of the way to their neighbours by which coinciding vertices are moved


def decimated(mesh: Mesh, faces: int) -> Mesh:
    """A mesh of about `faces` faces, by edge collapse with quadric errors (Garland and Heckbert, 1997).

    Where thin sheets collapse onto each other, four faces meet at an edge and are separated. If the surface
    is not watertight then, or its volume changes by more than a tenth, a quarter more faces are tried, up to
    the mesh itself.
    """
    volume = mesh.signed_volume_mm3
    while faces < len(mesh.faces):
        fewer = simplified(mesh, faces)
        if not fewer.is_watertight:
            fewer = _taken_apart(_without_fins(fewer))
        if fewer.is_watertight and abs(_volume(fewer) - volume) <= _CHANGED * abs(volume):
            return fewer
        faces += faces // 4 + 1
    return mesh


def simplified(mesh: Mesh, faces: int) -> Mesh:
    """A mesh of about `faces` faces for a picture; edges of four faces may remain where sheets collapse."""
    if faces >= len(mesh.faces):
        return mesh
    middle = mesh.vertices.mean(0)  # float32 is finest near zero
    vertices, triangles = fast_simplification.simplify(
        (mesh.vertices - middle).astype(np.float32), mesh.faces.astype(np.int32), target_count=faces
    )
    return Mesh(vertices.astype(np.float64) + middle, triangles.astype(np.int64))


def _volume(mesh: Mesh) -> float:
    return mesh.signed_volume_mm3 if len(mesh.faces) else 0.0


def _without_fins(mesh: Mesh) -> Mesh:
    """The mesh without pairs of faces that lie back to back, with nothing between them."""
    _, same, count = np.unique(np.sort(mesh.faces, axis=1), axis=0, return_inverse=True, return_counts=True)
    return Mesh(mesh.vertices, mesh.faces[count[same.ravel()] == 1])


def _taken_apart(mesh: Mesh) -> Mesh:
    """Give each fan of faces around a vertex its own vertex; coinciding ones move apart, into their fans.

    At an edge of four faces, two are neighbours if the object lies between them.
    """
    one, other = _neighbours(mesh)
    following = np.arange(mesh.faces.size).reshape(-1, 3)[:, [1, 2, 0]].ravel()  # corner at an edge's end
    joined = np.concatenate([one, following[one]]), np.concatenate([following[other], other])
    graph = scipy.sparse.coo_matrix((np.ones(len(joined[0])), joined), (mesh.faces.size, mesh.faces.size))
    count, fan = scipy.sparse.csgraph.connected_components(graph, directed=False)
    old = np.zeros(count, np.int64)
    old[fan] = mesh.faces.ravel()
    around = np.zeros((count, 3))
    np.add.at(around, fan, mesh.triangles.mean(1).repeat(3, axis=0))
    around /= np.bincount(fan)[:, None]
    vertices = mesh.vertices[old]
    several = np.bincount(old, minlength=len(mesh.vertices))[old] > 1
    vertices[several] += _APART * (around[several] - vertices[several])
    return Mesh(vertices, fan.reshape(-1, 3))


def _neighbours(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of directed edges that neighbouring faces share, as rows of all faces' edges."""
    start, end = mesh.faces.ravel(), np.roll(mesh.faces, -1, axis=1).ravel()
    forward = np.flatnonzero(start < end)
    backward = np.flatnonzero(start > end)
    key = np.minimum(start, end) * len(mesh.vertices) + np.maximum(start, end)
    angle = _angles(mesh, start, end)
    # the object is behind a forward face as one turns around the edge, and before a backward one
    forward = forward[np.lexsort((angle[forward], key[forward]))]
    backward = backward[np.lexsort((angle[backward], key[backward]))]
    if not np.array_equal(key[forward], key[backward]):
        return forward[:0], backward[:0]  # not closed
    first = np.searchsorted(key[forward], key[forward])
    last = np.searchsorted(key[forward], key[forward], side="right")
    leads = angle[backward[first]] > angle[forward[first]]  # the first has the last behind it
    row = np.arange(len(forward))
    return forward, backward[np.where(leads, first + (row - first - 1) % (last - first), row)]


def _angles(mesh: Mesh, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(3m,) radians of each face around each of its edges, which run from the lower vertex to the higher."""
    third = np.roll(mesh.faces, -2, axis=1).ravel()
    low, high = mesh.vertices[np.minimum(start, end)], mesh.vertices[np.maximum(start, end)]
    axis = high - low
    axis /= np.maximum(np.linalg.norm(axis, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    right = np.cross(axis, np.eye(3)[np.abs(axis).argmin(1)])
    toward = mesh.vertices[third] - low
    return np.asarray(np.arctan2((toward * np.cross(axis, right)).sum(1), (toward * right).sum(1)))
