"""Repositioning of displaced fragments, which are the label values of a mask from 3 on.

The outer surface of a fragment belongs on the surface of the completed bone, and its fracture face on bone in
place: bone to keep, bone in the region (`bone_in_region`), and fragments already repositioned
(`shape_models.reduction`).
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
from kneeformer.geometry.boxes import Box, bounding_box, box_shape, grown, paste, slices
from kneeformer.geometry.grid import Grid
from kneeformer.geometry.mesh import Mesh, surface_of_mask
from kneeformer.labels import COMPLETE, FRAGMENTS
from kneeformer.shape_models.completion import Completed
from kneeformer.shape_models.fragment_misfit import FragmentSurface, Target
from kneeformer.shape_models.reduction import Reduced, reduce
from kneeformer.tasks.bone_completion.bone_in_region import bone_in_region
from kneeformer.tasks.bone_completion.isolation import Bone, signed_distance
from kneeformer.tasks.bone_completion.native import distance_on

_REACH_MM = 30.0  # around a fragment, within which it may move
_POINTS = 3000  # of a fragment's surface
_LEAST_MM3 = 1000.0  # smaller fragments fit anywhere
_LEAST_SHARE = 0.1  # of a fragment's surface on bone and faces; less does not determine its position
_UNSURE_MM, _UNSURE_DEGREES = 4.0, 6.0
_FAR_MM = 5.0  # to another position that fits about as well


@dataclass(frozen=True)
class PlacedFragment:
    """A repositioned fragment.

    Attributes:
        label: its value in the mask.
        matrix: (4, 4) float64, rigid, in patient coordinates (LPS, mm): from the position in the scan to the
            new one.
        surface: at the new position, in patient coordinates.
        facts: finite numbers for CASE.json.
        doubts: reasons why the position may be wrong.
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
    """The mask with displaced fragments as parts of the region to complete."""
    return np.where(mask >= FRAGMENTS.start, COMPLETE, mask).astype(np.uint8)


def reposition(
    ct: np.ndarray,
    mask: np.ndarray,
    completed: Sequence[Completed],
    bone: Bone,
    grid: Grid,
    spacing: Spacing,
) -> list[PlacedFragment]:
    """Reposition all fragments, the largest first, so that the next ones can meet it.

    Args:
        ct, mask: (z, y, x); the CT in any unit.
        completed: the completed bone, one per model; their mean counts.
        bone: the bone before completion.
        spacing: of the prototype's grid.
    """
    labels = fragments_in(mask)
    if not labels:
        return []
    in_place, placed = _in_place(ct, mask, grid), []
    for label in sorted(labels, key=lambda label: -np.count_nonzero(mask == label)):
        fragment = mask == label
        box = _around(fragment, grid)
        whole = distance_on(completed, bone, box, grid, spacing)
        meets = signed_distance(in_place[slices(box)], grid.spacing)
        found = _put_back(label, fragment, grid, whole, meets, grid.cut(box))
        placed.append(found)
        in_place = in_place | (label_map_of([found], mask, grid) > 0)
    return sorted(placed, key=lambda fragment: fragment.label)


def _in_place(ct: np.ndarray, mask: np.ndarray, grid: Grid) -> np.ndarray:
    """(z, y, x) bool: bone in place around region and fragments."""
    box = _around(mask >= COMPLETE, grid)
    cut = slices(box)
    return paste(bone_in_region(ct[cut], mask[cut], grid.spacing), box, grid.shape)


def _around(marked: np.ndarray, grid: Grid) -> Box:
    return grown(bounding_box(marked), [math.ceil(_REACH_MM / mm) for mm in grid.spacing], grid.shape)


def _put_back(
    label: int, fragment: np.ndarray, grid: Grid, whole: np.ndarray, in_place: np.ndarray, around: Grid
) -> PlacedFragment:
    """Reposition one fragment (z, y, x) bool, by signed distances to the whole bone and to bone in place."""
    surface = surface_of_mask(fragment, grid)
    to_grid = _to_mm_of(around)
    source, middle = _sampled(surface, to_grid)
    bone, meets = torch.from_numpy(whole).double(), torch.from_numpy(in_place).double()
    target = Target(bone, meets, grid.spacing, torch.from_numpy(middle))
    found = reduce(source, target)
    inside = np.eye(4)
    inside[:3, :3] = found.motion.rotation.numpy()
    inside[:3, 3] = middle + found.motion.shift.numpy() - inside[:3, :3] @ middle
    matrix = np.linalg.inv(to_grid) @ inside @ to_grid
    volume, area = float(fragment.sum()) * grid.voxel_mm3, float(surface.areas_mm2.sum())
    facts = {"label": label, "volume_mm3": round(volume, 1), **_facts(found, area)}
    return PlacedFragment(label, matrix, surface.transformed(matrix), facts, tuple(_doubts(facts)))


def label_map_of(placed: Sequence[PlacedFragment], mask: np.ndarray, grid: Grid) -> np.ndarray:
    """(z, y, x) uint8: the repositioned fragments with their labels, later ones over earlier ones."""
    whole = np.zeros(mask.shape, np.uint8)
    for fragment in placed:
        box = grid.box_around(fragment.surface.vertices)
        shape = box_shape(box)
        if min(shape) < 1:  # outside of the scan
            continue
        there = np.indices(shape).reshape(3, -1).T + [first for first, _ in box]
        to_here = grid.to_index() @ np.linalg.inv(fragment.matrix) @ grid.to_patient()
        here = transformed(there, to_here).T
        filled = ndimage.map_coordinates((mask == fragment.label).astype(np.float32), here, order=1)
        moved = paste((filled > 0.5).reshape(shape), box, grid.shape)
        whole[moved] = fragment.label
    return whole


def _sampled(surface: Mesh, to_grid: Affine) -> tuple[FragmentSurface, np.ndarray]:
    """Points drawn from a surface, along a grid's axes from their middle; and that middle."""
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
    """Rigid map of patient coordinates (x, y, z) to mm (z, y, x) along the grid's axes from its middle."""
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
        "on_face_mm2": round(found.on_face_mm2, 1),
        "on_face_share": round(found.on_face_mm2 / area_mm2, 3),
        "deviation_mm": round(found.deviation_mm, 2),
        "angle_deviation_degrees": round(math.degrees(found.turn_deviation), 2),
        "rival_mm": round(found.rival_mm, 2),
    }


def _doubts(facts: dict[str, Any]) -> list[str]:
    found, name = [], f"fragment {facts['label']}"
    if facts["volume_mm3"] < _LEAST_MM3:
        found.append(f"{name}: {facts['volume_mm3'] / 1000:.2f} ml, too small to determine its position")
    share = facts["on_surface_share"] + facts["on_face_share"]
    if share < _LEAST_SHARE:
        found.append(
            f"{name}: only {share:.0%} of its surface lies on the bone's or meets bone in place, too little "
            f"to determine its position"
        )
    if facts["deviation_mm"] > _UNSURE_MM:
        found.append(f"{name}: its position is uncertain, standard deviation {facts['deviation_mm']:.1f} mm")
    if facts["angle_deviation_degrees"] > _UNSURE_DEGREES:
        found.append(
            f"{name}: its rotation is uncertain, standard deviation {facts['angle_deviation_degrees']:.1f} "
            f"degrees about one axis"
        )
    if facts["rival_mm"] > _FAR_MM:
        found.append(f"{name}: another position, {facts['rival_mm']:.1f} mm away, fits about as well")
    return found
