"""A structure of a label map as a smooth signed distance, also between slices, with its volume kept."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from kneeformer.geometry.aliases import Spacing
from kneeformer.geometry.boxes import Box, bounding_box, grown, slices
from kneeformer.geometry.grid import Grid
from kneeformer.geometry.mesh import Mesh, surface_of
from kneeformer.geometry.resampling import new_centres

_SMOOTHED = 1.5  # in-plane voxels, which removes the steps of a mask
_MARGIN = 4  # voxels around the structure that smoothing reaches
_OTHER_SLICE_MM = 1e6  # farther than any contour in the same slice
_STEPS = 8  # at most, to find the level of a volume
_KEPT = 0.1  # voxels that a voxel's centre stays from the surface, on its own side


@dataclass(frozen=True)
class SmoothStructure:
    """Depth below a structure's surface, on a grid of thinner slices around it.

    Attributes:
        depth: (z, y, x) float32 mm below its surface, negative above it.
        bone_depth: the same for the bone that it covers; None if it covers none.
        grid: of both.
    """

    depth: np.ndarray
    bone_depth: np.ndarray | None
    grid: Grid

    @cached_property
    def surface(self) -> Mesh:
        """The surface in patient coordinates; closed at the border if that cuts the structure."""
        return surface_of(self.depth, 0.0, self.grid)


def smooth_structure(
    mask: np.ndarray, grid: Grid, bone: np.ndarray | None = None, volume_error: float = 0.003
) -> SmoothStructure:
    """Smooth a structure without shrinking it.

    1. Signed distance to the border of the mask. Thick slices have distances within each slice, interpolated
       linearly between slices (shape-based interpolation: Raya and Udupa, 1990) and limited to the slice
       spacing, so that what ends between two slices ends half-way.
    2. A layer on a bone, such as cartilage, lies between two solids: bone with layer, and bone. These are
       interpolated instead, since a thin layer oblique to the slices does not overlap itself in the next.
    3. A Gaussian of one and a half in-plane voxels, the same in mm across the slices.
    4. Voxels on which two neighbouring slices agree, and every voxel's centre, are kept on their own side of
       the surface: nothing thin is lost or merged, and no surface is off by more than a voxel.
    5. The level, chosen before 4., at which the surface encloses the volume of the mask's voxels.

    Args:
        mask: (z, y, x) bool, not empty.
        bone: (z, y, x) bool of the bone that the structure covers.
        volume_error: share by which the volume may be off; infinity takes the first level without measuring
            its surface.
    """
    box = grown(bounding_box(mask), (_MARGIN,) * 3, mask.shape)
    factor = slices_from_one(grid.spacing)
    part, fine = mask[slices(box)], _refined(grid, box, factor)
    under = np.zeros_like(part) if bone is None else bone[slices(box)]
    bone_depth, depth = None, _depth_between(part | under, grid.spacing, factor)
    if bone is not None:
        bone_depth = _depth_between(under, grid.spacing, factor)
        depth = np.minimum(depth, -bone_depth)
    in_plane = sorted(grid.spacing)[1]
    depth = ndimage.gaussian_filter(depth, [_SMOOTHED * in_plane / s for s in fine.spacing], mode="nearest")
    depth -= _level_around(depth, factor * np.count_nonzero(part))
    thick, least = int(np.argmax(grid.spacing)), np.float32(_KEPT * min(grid.spacing))
    inside = _in_both(part, thick, factor)
    outside = _in_both(under, thick, factor) | _in_both(~(part | under), thick, factor)

    def raised(mm: float) -> SmoothStructure:
        deeper = depth + np.float32(mm)
        np.copyto(deeper, least, where=inside & (deeper < least))
        np.copyto(deeper, -least, where=outside & (deeper > -least))
        return SmoothStructure(deeper, bone_depth, fine)

    if volume_error == math.inf:
        return raised(0.0)
    return _of_volume(raised, float(np.count_nonzero(part)) * grid.voxel_mm3, volume_error)


def _of_volume(
    raised: Callable[[float], SmoothStructure], volume_mm3: float, error: float
) -> SmoothStructure:
    """The structure, raised by the mm that give its surface a volume, by Newton's method and bisection.

    The volume grows with the level by the area of the surface, or less where voxel centres are kept, as in
    thin structures.
    """
    mm, low, high = 0.0, -math.inf, math.inf
    tried: list[tuple[float, SmoothStructure]] = []
    for _ in range(_STEPS):
        found = raised(mm)
        surface = found.surface
        lacking = volume_mm3 - surface.signed_volume_mm3
        tried.append((abs(lacking), found))
        if abs(lacking) <= error * volume_mm3:
            break
        low, high = (mm, high) if lacking > 0 else (low, mm)
        mm += lacking / float(surface.areas_mm2.sum())
        if not low < mm < high:
            mm = (low + high) / 2
    return min(tried, key=lambda of: of[0])[1]


def slices_from_one(spacing: Spacing) -> int:
    """The smallest odd number of thinner slices that are at most twice as thick as voxels are wide."""
    number = math.ceil(max(spacing) / (2 * sorted(spacing)[1]) - 1e-6)
    return number + 1 - number % 2


def _depth_between(mask: np.ndarray, spacing: Spacing, factor: int) -> np.ndarray:
    """float32 signed distance in mm, limited to the slice spacing, with `factor` slices for each one."""
    thick = int(np.argmax(spacing))
    apart = [_OTHER_SLICE_MM if factor > 1 and axis == thick else s for axis, s in enumerate(spacing)]
    half = min(spacing) / 2  # the border is half-way between voxels
    depth = np.where(mask, _distance(mask, apart) - half, half - _distance(~mask, apart))
    depth = depth.clip(-max(spacing), max(spacing)).astype(np.float32)
    below, above, share = _neighbours(mask.shape[thick], factor)
    share = np.expand_dims(share, [axis for axis in range(3) if axis != thick])
    return np.asarray(depth.take(below, thick) * (1 - share) + depth.take(above, thick) * share)


def _distance(mask: np.ndarray, spacing: list[float]) -> np.ndarray:
    """Distance in mm from each voxel of a mask to the nearest voxel outside."""
    if mask.all():
        return np.full(mask.shape, np.inf)
    return np.asarray(ndimage.distance_transform_edt(mask, sampling=spacing))


def _neighbours(number: int, factor: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The slices before and behind each thinner slice, and the weight of the latter."""
    place = new_centres(number, number * factor).clip(0, number - 1)
    below, above = np.floor(place + 1e-9).astype(int), np.ceil(place - 1e-9).astype(int)
    return below, above, (place - below).astype(np.float32)


def _in_both(mask: np.ndarray, thick: int, factor: int) -> np.ndarray:
    """True for voxels of thinner slices that lie in the mask in both neighbouring slices."""
    below, above, _ = _neighbours(mask.shape[thick], factor)
    return np.asarray(mask.take(below, thick) & mask.take(above, thick))


def _level_around(depth: np.ndarray, voxels: int) -> float:
    """The level that a given number of voxels reaches."""
    return float(np.partition(depth, -voxels, axis=None)[-voxels])


def _refined(grid: Grid, box: Box, factor: int) -> Grid:
    """The grid of a box of voxels, with `factor` slices for each one."""
    part, thick = grid.cut(box), int(np.argmax(grid.spacing))
    z, y, x = (n * factor if axis == thick else n for axis, n in enumerate(part.shape))
    return part.resampled((z, y, x))
