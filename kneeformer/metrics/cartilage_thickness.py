"""Thickness of cartilage, measured at right angles to the bone."""

import numpy as np
from scipy.ndimage import map_coordinates

from kneeformer.geometry.affine import transformed
from kneeformer.geometry.mesh import Mesh
from kneeformer.geometry.smooth_structure import SmoothStructure

_STEP_MM = 0.1
_FURTHEST_MM = 12.0  # thicker than any cartilage of a knee
_FACING_BONE = 0.7  # cosine: 45 degrees


def mean_thickness_mm(cartilage: SmoothStructure, surface: Mesh) -> float | None:
    """Mean thickness over the bone-cartilage interface, weighted by area (ThCtAB of Eckstein et al., 2006).

    The interface is made of faces within a voxel of the bone's surface that face it. Thickness is the
    distance from there to the other side of the cartilage, along the bone's normal.

    Args:
        surface: of the cartilage.

    Returns:
        Millimetres; None where no face of the surface lies on bone.
    """
    bone, grid = cartilage.bone_depth, cartilage.grid
    if bone is None:
        return None
    places = transformed(surface.triangles.mean(1), grid.to_index())
    near = np.abs(_at(bone, places)) < min(grid.spacing)
    away = -np.stack([_at(slope, places) for slope in np.gradient(bone, *grid.spacing)], 1)
    away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    outward = (surface.normals @ grid.cosines)[:, ::-1]  # along the grid's axes (z, y, x)
    facing = (outward * away).sum(1) < -_FACING_BONE * np.linalg.norm(outward, axis=1)
    interface = near & facing
    thickness = _through(cartilage, places[interface], away[interface] / grid.spacing)
    known = np.isfinite(thickness)
    if not known.any():
        return None
    return float(np.average(thickness[known], weights=surface.areas_mm2[interface][known]))


def _through(cartilage: SmoothStructure, start: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """(n,) mm from each place to the point where a ray leaves the structure; NaN if it does not.

    Args:
        start: (n, 3) voxels on the surface.
        direction: (n, 3) voxels per millimetre.
    """
    found = np.full(len(start), np.nan)
    rays, before = np.arange(len(start)), np.zeros(len(start))
    for step in range(1, round(_FURTHEST_MM / _STEP_MM) + 1):
        here = _at(cartilage.depth, start[rays] + direction[rays] * step * _STEP_MM)
        left = (here < 0) & (before > 0)
        share = before[left] / (before[left] - here[left])
        found[rays[left]] = (step - 1 + share) * _STEP_MM
        rays, before = rays[~left], here[~left]
    return found


def _at(field: np.ndarray, index: np.ndarray) -> np.ndarray:
    return np.asarray(map_coordinates(field, index.T, np.float64, order=1, mode="nearest"))
