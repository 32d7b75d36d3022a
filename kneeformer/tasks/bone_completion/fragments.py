"""Displaced fragments, the label values of a mask from 3 on, registered to the completed bone.

That part of a fragment's surface which is bone surface determines its original position
(`shape_models.reduction`). The uncertainty of that position is given beside it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from kneeformer.geometry.affine import Affine, transformed
from kneeformer.geometry.aliases import Spacing
from kneeformer.geometry.boxes import bounding_box, box_shape, grown, paste, slices
from kneeformer.geometry.grid import Grid
from kneeformer.geometry.mesh import Mesh, surface_of
from kneeformer.labels import COMPLETE, FRAGMENTS, KEEP
from kneeformer.shape_models.completion import Completed
from kneeformer.shape_models.reduction import FragmentSurface, Reduced, Target, reduce
from kneeformer.tasks.bone_completion.isolation import Bone, signed_distance
from kneeformer.tasks.bone_completion.native import distance_on

_REACH_MM = 30.0  # around a fragment, within which it is repositioned
_SMOOTH = 0.7  # voxels: a mask's steps, which a bone does not have
_POINTS = 1_500  # of a fragment's surface
_LEAST_MM3 = 1000.0  # smaller ones fit anywhere
_LEAST_ON_SURFACE = 0.2  # of a fragment's surface, and mm2: less does not determine its position
_LEAST_ON_SURFACE_MM2 = 150.0
_UNSURE_MM = 8.0


@dataclass(frozen=True)
class PlacedFragment:
    """A repositioned fragment.

    Attributes:
        label: its value in the mask.
        matrix: (4, 4) float64, rigid, on patient coordinates (LPS, mm): from its position in the scan to the
            new one.
        surface: there, in patient coordinates.
        facts: finite numbers for CASE.json.
        doubts: why the position may be wrong.
    """

    label: int
    matrix: Affine
    surface: Mesh
    facts: dict[str, Any]
    doubts: tuple[str, ...]


def fragments_in(mask: np.ndarray) -> list[int]:
    """Label values of the fragments that a mask marks."""
    return [label for label in FRAGMENTS if (mask == label).any()]


def as_region(mask: np.ndarray) -> np.ndarray:
    """The mask of a completion: displaced fragments are a part of the region to complete."""
    return np.where(mask >= FRAGMENTS.start, COMPLETE, mask).astype(np.uint8)


def reposition(
    label: int,
    mask: np.ndarray,
    completed: Sequence[Completed],
    bone: Bone,
    grid: Grid,
    spacing: Spacing,
) -> PlacedFragment:
    """Move one fragment onto the completed bone.

    Args:
        label: that `mask` (z, y, x) has.
        completed: the bone, one a model; of several the mean.
        bone: that was completed.
        spacing: of the prototype's grid.
    """
    fragment = mask == label
    box = grown(bounding_box(fragment), [math.ceil(_REACH_MM / mm) for mm in grid.spacing], mask.shape)
    around = grid.cut(box)
    surface = _smooth_surface(fragment, grid)
    to_grid = _to_mm_of(around)
    source, middle = _sampled(surface, to_grid)
    target = Target(
        torch.from_numpy(distance_on(completed, bone, box, grid, spacing)).double(),
        torch.from_numpy(signed_distance(mask[slices(box)] == KEEP, grid.spacing)).double(),
        grid.spacing,
        torch.from_numpy(middle),
    )
    found = reduce(source, target)
    inside = np.eye(4)
    inside[:3, :3] = found.motion.rotation.numpy()
    inside[:3, 3] = middle + found.motion.shift.numpy() - inside[:3, :3] @ middle
    matrix = np.linalg.inv(to_grid) @ inside @ to_grid
    volume, area = float(fragment.sum()) * grid.voxel_mm3, float(surface.areas_mm2.sum())
    facts = {"label": label, "volume_mm3": round(volume, 1), **_facts(found, area)}
    return PlacedFragment(label, matrix, surface.transformed(matrix), facts, tuple(_doubts(facts)))


def label_map_of(placed: Sequence[PlacedFragment], mask: np.ndarray, grid: Grid) -> np.ndarray:
    """(z, y, x) uint8: every fragment where it belongs, with its own label; a later one over an earlier."""
    whole = np.zeros(mask.shape, np.uint8)
    for fragment in placed:
        box = grid.box_around(fragment.surface.vertices)
        shape = box_shape(box)
        if min(shape) < 1:  # it belongs where the scan does not reach
            continue
        there = np.indices(shape).reshape(3, -1).T + [first for first, _ in box]
        to_here = grid.to_index() @ np.linalg.inv(fragment.matrix) @ grid.to_patient()
        here = transformed(there, to_here).T
        filled = ndimage.map_coordinates((mask == fragment.label).astype(np.float32), here, order=1)
        moved = paste((filled > 0.5).reshape(shape), box, grid.shape)
        whole[moved] = fragment.label
    return whole


def _smooth_surface(fragment: np.ndarray, grid: Grid) -> Mesh:
    smooth = ndimage.gaussian_filter(fragment.astype(np.float32), _SMOOTH)
    return surface_of(smooth if (smooth > 0.5).any() else fragment, 0.5, grid)


def _sampled(surface: Mesh, to_grid: Affine) -> tuple[FragmentSurface, np.ndarray]:
    """Points drawn evenly from a surface, along a grid's axes around their own middle; and that middle."""
    areas = surface.areas_mm2
    chosen = np.random.default_rng(0).choice(len(areas), _POINTS, p=areas / areas.sum())
    points = transformed(surface.triangles[chosen].mean(1), to_grid)
    normals = surface.normals[chosen] / (2 * areas[chosen, None]) @ to_grid[:3, :3].T
    middle = points.mean(0)
    sampled = FragmentSurface(
        torch.from_numpy(points - middle), torch.from_numpy(normals), float(areas.sum()) / _POINTS
    )
    return sampled, middle


def _to_mm_of(grid: Grid) -> Affine:
    """Patient coordinates (x, y, z) to mm (z, y, x) along the grid's axes from its middle: rigid."""
    scaled = np.diag([*grid.spacing, 1.0])
    scaled[:3, 3] = -(np.array(grid.shape) - 1) / 2 * grid.spacing
    return np.asarray(scaled @ grid.to_index())


def _facts(found: Reduced, area_mm2: float) -> dict[str, Any]:
    turn = Rotation.from_matrix(found.motion.rotation.numpy())
    return {
        "angle_degrees": round(float(np.degrees(turn.magnitude())), 2),
        "shift_mm": round(float(found.motion.shift.norm()), 2),
        "residual_mm": round(found.residual_mm, 3),
        "on_surface_mm2": round(found.on_surface_mm2, 1),
        "on_surface_share": round(found.on_surface_mm2 / area_mm2, 3),
        "deviation_mm": round(found.deviation_mm, 2),
        "rival_mm": round(found.rival_mm, 2),
    }


def _doubts(facts: dict[str, Any]) -> list[str]:
    found, name = [], f"fragment {facts['label']}"
    if facts["volume_mm3"] < _LEAST_MM3:
        found.append(f"{name}: {facts['volume_mm3'] / 1000:.2f} ml, too small to determine its position")
    if facts["on_surface_share"] < _LEAST_ON_SURFACE or facts["on_surface_mm2"] < _LEAST_ON_SURFACE_MM2:
        found.append(
            f"{name}: only {facts['on_surface_mm2']:.0f} mm2 of it, {facts['on_surface_share']:.0%}, lie on "
            f"the surface of the bone, too little to determine its position"
        )
    if facts["deviation_mm"] > _UNSURE_MM:
        found.append(f"{name}: its position is uncertain, standard deviation {facts['deviation_mm']:.1f} mm")
    if facts["rival_mm"] > 0:
        found.append(f"{name}: another position, {facts['rival_mm']:.1f} mm away, fits about as well")
    return found
