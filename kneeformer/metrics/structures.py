"""Surfaces and measurements of the structures in a label map."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from kneeformer.geometry.decimation import decimated
from kneeformer.geometry.grid import Grid
from kneeformer.geometry.mesh import Mesh
from kneeformer.geometry.smooth_structure import smooth_structure
from kneeformer.labels import LabelScheme
from kneeformer.metrics.cartilage_thickness import mean_thickness_mm


@dataclass(frozen=True)
class MeasuredStructure:
    """One structure of a label map.

    Attributes:
        surface: None if the structure is empty.
        facts: its measurements, for JSON; see documentation/reference/meshes.md.
    """

    name: str
    surface: Mesh | None
    facts: dict[str, Any]


def measured_structures(
    labels: np.ndarray, grid: Grid, scheme: LabelScheme, faces: int | None = None
) -> Iterator[MeasuredStructure]:
    """Surface and measurements of each structure or region, in the order of the scheme.

    The surface is measured before its faces are reduced to `faces`.

    Args:
        labels: (z, y, x) label map.
    """
    for name in scheme.names:
        mask = scheme.structure(labels, name)
        facts: dict[str, Any] = {
            "volume_mm3": float(np.count_nonzero(mask) * grid.voxel_mm3),
            "touches_border": _touches_border(mask),
        }
        if not mask.any():
            yield MeasuredStructure(name, None, facts)
            continue
        bone = _bone_under(name, mask, labels, scheme) if is_cartilage(name) else None
        smooth = smooth_structure(mask, grid, None if bone is None else scheme.structure(labels, bone))
        surface = smooth.surface
        facts |= {
            "surface_volume_mm3": surface.signed_volume_mm3,
            "surface_area_mm2": float(surface.areas_mm2.sum()),
            "centre_mm": surface.centre_of_volume.tolist(),
        }
        if is_cartilage(name):
            facts |= {"bone": bone, "mean_thickness_mm": mean_thickness_mm(smooth, surface)}
        if faces is not None:
            surface = decimated(surface, faces)
        yield MeasuredStructure(name, surface, facts)


def is_cartilage(name: str) -> bool:
    """True for a structure named as cartilage."""
    return "cartilage" in name.casefold()


def _bone_under(name: str, mask: np.ndarray, labels: np.ndarray, scheme: LabelScheme) -> str | None:
    """The structure of most voxels around a cartilage, except cartilages and regions that contain it."""
    around = scipy.ndimage.binary_dilation(mask) & ~mask
    touching = labels[around]
    counts = {
        other: np.count_nonzero(scheme.structure(touching, other))
        for other in scheme.names
        if not is_cartilage(other) and not scheme.structure(labels[mask], other).any()
    }
    bone = max(counts, key=lambda other: counts[other], default=None)
    return bone if bone is not None and counts[bone] else None


def _touches_border(mask: np.ndarray) -> bool:
    return any(np.moveaxis(mask, axis, 0)[[0, -1]].any() for axis in range(3))
