"""A completed bone on the native grid of its scan; only the region to complete comes from the model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from kneeformer.data.hounsfield import hounsfield_fault
from kneeformer.geometry.affine import transformed
from kneeformer.geometry.aliases import Spacing
from kneeformer.geometry.boxes import Box, box_shape, paste
from kneeformer.geometry.components import without_small_components
from kneeformer.geometry.grid import Grid
from kneeformer.geometry.mesh import Mesh, surface_of_mask
from kneeformer.labels import COMPLETE, KEEP
from kneeformer.shape_models.completion import Completed
from kneeformer.tasks.bone_completion.isolation import Bone
from kneeformer.tasks.bone_completion.settings import BoneGridSettings

AIR_HU = -1000
_AT_ONCE = 500_000  # points at a time


@dataclass(frozen=True)
class NativeBone:
    """A completed bone on its scan's grid, (z, y, x).

    Attributes:
        mask: uint8, 1 where bone is: visible bone as it was given, the rest completed.
        raw: uint8, 1 where the model has bone, visible or not.
        region: uint8, 1 where bone was completed.
        ct: int16 HU of the bone alone, in air: the scan's where it is visible, or only the model's if the
            scan is not in HU.
        uncertainty: float32 mm, standard deviation of the surface in the region; None if the prior gives
            none.
    """

    mask: np.ndarray
    raw: np.ndarray
    region: np.ndarray
    ct: np.ndarray
    uncertainty: np.ndarray | None

    def surface(self, grid: Grid) -> Mesh:
        """The surface in patient coordinates."""
        return surface_of_mask(self.mask, grid)


def resample_to_native(
    completed: Sequence[Completed],
    bone: Bone,
    ct: np.ndarray,
    mask: np.ndarray,
    grid: Grid,
    settings: BoneGridSettings,
) -> NativeBone:
    """Resample a completed bone, the mean over models, onto the grid of its scan.

    Args:
        ct, mask: (z, y, x) as given to `isolate`.
    """
    visible, hidden = without_small_components(mask == KEEP), mask == COMPLETE
    box = _box_of_grid(completed, bone, grid, settings)
    intensity, distance, deviation = _on_box(completed, bone, box, grid, settings.spacing)
    raw = paste(distance < 0, box, grid.shape)
    region = raw & hidden
    low, high = settings.window_hu
    predicted = paste(intensity * (high - low) + low, box, grid.shape, AIR_HU)
    seen = predicted if hounsfield_fault(ct) else ct.astype(np.float32)  # never two scales in one volume
    whole = np.select([region, visible], [predicted, seen], AIR_HU)
    uncertainty = None
    if deviation is not None:
        uncertainty = np.where(hidden, paste(deviation, box, grid.shape), 0).astype(np.float32)
    return NativeBone(
        (visible | region).astype(np.uint8),
        raw.astype(np.uint8),
        region.astype(np.uint8),
        np.rint(whole).clip(-1024, 32767).astype(np.int16),
        uncertainty,
    )


def distance_on(
    completed: Sequence[Completed], bone: Bone, box: Box, grid: Grid, spacing: Spacing
) -> np.ndarray:
    """(z, y, x) float32 mean signed distance in mm to the completed bone, on a box of the scan."""
    return _on_box(completed, bone, box, grid, spacing)[1]


def _box_of_grid(completed: Sequence[Completed], bone: Bone, grid: Grid, settings: BoneGridSettings) -> Box:
    """The part of the scan that the prototypes' grids cover; it may exceed the grid of the visible bone."""
    half = [(n - 1) / 2 * s for n, s in zip(settings.grid, settings.spacing, strict=True)]
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1], indexing="ij")).reshape(3, -1)
    corners = torch.from_numpy(signs.T * half)
    reached = np.concatenate([whole.fit.pose.inverse()(corners).numpy() for whole in completed])
    return grid.box_around(transformed(reached, bone.to_patient))


def _on_box(
    completed: Sequence[Completed], bone: Bone, box: Box, grid: Grid, spacing: Spacing
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Mean CT in [0, 1], signed distance and deviation in mm at each voxel of a box of the scan."""
    matrix = np.linalg.inv(bone.to_patient) @ grid.to_patient()
    shape = box_shape(box)
    index = np.indices(shape).reshape(3, -1)
    start = matrix[:3, :3] @ np.array([first for first, _ in box]) + matrix[:3, 3]
    found = np.zeros((3, index.shape[1]), np.float32)
    for first in range(0, index.shape[1], _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        points = torch.from_numpy((matrix[:3, :3] @ index[:, part]).T + start).float()
        for whole in completed:
            values = whole.at(points.to(whole.image.device), spacing)
            for row, value in zip(found, values, strict=True):
                if value is not None:
                    row[part] += value.cpu().numpy() / len(completed)
    known = all(c.deviation_mm is not None for c in completed)
    return found[0].reshape(shape), found[1].reshape(shape), found[2].reshape(shape) if known else None
