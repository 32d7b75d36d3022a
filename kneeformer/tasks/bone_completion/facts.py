"""Measurements of a completed bone for CASE.json, and warnings based on them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kneeformer.geometry.grid import Grid
from kneeformer.labels import COMPLETE, KEEP
from kneeformer.shape_models.completion import Completed
from kneeformer.tasks.bone_completion.length import length_of
from kneeformer.tasks.bone_completion.native import NativeBone

UNUSUAL_RATIO = 3.0  # times the prior's usual error: the bone is unlike the training bones
_FITS = 0.5  # share of visible surface within the robust distance; less is no registration
_SIZES = (0.7, 1.4)  # range of plausible scales
_LITTLE = 0.1  # share of a bone's surface; less determines neither pose nor shape
_MOST = 0.5  # share of a bone that can be completed from the rest


def facts_of(
    native: NativeBone,
    completed: Sequence[Completed],
    mask: np.ndarray,
    grid: Grid,
    vertices: np.ndarray,
    length_quantile: float,
) -> dict[str, Any]:
    """Measure a completed bone: finite numbers, which are valid JSON.

    Args:
        completed: one per model.
        mask: (z, y, x), 1 bone to keep, 2 region to complete.
        vertices: (n, 3) mm of the whole bone's surface.
        length_quantile: half the width of the length's interval, in deviations.
    """
    length = length_of(vertices, native.uncertainty, grid)
    interval = (length.mm + side * length_quantile * length.deviation_mm for side in (-1, 1))
    voxel = grid.voxel_mm3
    volume, made = float(native.mask.sum()) * voxel, float(native.region.sum()) * voxel
    return {
        "volume_mm3": round(volume, 1),
        "completed_mm3": round(made, 1),
        "hidden_fraction": round(made / volume, 4),
        "length_mm": round(length.mm, 2),
        "length_interval_mm": None if native.uncertainty is None else [round(v, 2) for v in interval],
        "visible_surface": round(float(np.mean([c.visible_surface for c in completed])), 3),
        "region_touches_bone": _touch(mask),
        "registration": {
            "residual_mm": round(float(np.mean([c.fit.residual_mm for c in completed])), 3),
            "inliers": round(float(np.mean([c.fit.inliers for c in completed])), 3),
            "scale": round(float(np.mean([c.fit.pose.scale for c in completed])), 4),
        },
        "surface_error_ratio": round(float(np.mean([c.surface_error_ratio for c in completed])), 2),
        "bone_at_border_mm2": round(_cut_mm2(native.mask, grid), 1),
    }


def doubts(facts: dict[str, Any]) -> list[str]:
    """Return warnings: reasons to inspect the completion before trusting it."""
    registration, found = facts["registration"], []
    if registration["inliers"] < _FITS:
        found.append(
            f"only {registration['inliers']:.0%} of the visible surface lies on the prototype: the "
            f"registration has failed, or this is another bone"
        )
    if not _SIZES[0] < registration["scale"] < _SIZES[1]:
        found.append(
            f"registered with a scale of {registration['scale']:.2f}, which no healthy bone has: the "
            f"registration has failed, or this is another bone"
        )
    if facts["surface_error_ratio"] > UNUSUAL_RATIO:
        ratio = facts["surface_error_ratio"]
        found.append(
            f"unlike the training bones: its visible surface is {ratio:.1f} times as far from the prior as "
            f"theirs"
        )
    if facts["visible_surface"] < _LITTLE:
        found.append(
            f"only {facts['visible_surface']:.1%} of a bone's surface is visible, too little to "
            f"determine its pose and shape: keep more bone"
        )
    if facts["hidden_fraction"] > _MOST:
        found.append(
            f"{facts['hidden_fraction']:.0%} of the bone is completed, more than is visible: draw the region "
            f"smaller, if more of the bone is intact"
        )
    if facts["completed_mm3"] == 0:
        found.append("nothing is completed: the model has no bone in the region")
    if not facts["region_touches_bone"]:
        found.append("the region to complete touches no bone to keep: draw it where bone is missing")
    if facts["bone_at_border_mm2"] > 0:
        found.append(
            f"the bone leaves the field of view: {facts['bone_at_border_mm2']:.0f} mm2 lie on the border"
        )
    return found


def _cut_mm2(mask: np.ndarray, grid: Grid) -> float:
    """Area of the bone on the border of the field of view."""
    total = 0.0
    for axis in range(3):
        face = float(np.prod([s for a, s in enumerate(grid.spacing) if a != axis]))
        ends = np.moveaxis(mask, axis, 0)[[0, -1]]
        total += face * float(np.count_nonzero(ends))
    return total


def _touch(mask: np.ndarray) -> bool:
    """True where a voxel to complete shares a face with one to keep."""
    for axis in range(3):
        along = np.moveaxis(mask, axis, 0)
        for one, other in ((along[1:], along[:-1]), (along[:-1], along[1:])):
            if ((one == KEEP) & (other == COMPLETE)).any():
                return True
    return False
