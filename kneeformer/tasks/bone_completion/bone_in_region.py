"""Bone in place inside the region to complete, found on the CT: fragments meet it at their fracture faces.

A region is drawn generously, and much of the bone in it has not moved. Because of the scanner's blur, voxels
beside a cortex are as bright as spongy bone, and a narrow gap between two cortices is not dark: a threshold
would take both for bone. So the edge of bone is put half-way up to the brightest voxel nearby, and beside a
fragment, what is darker than both sides is a gap.
"""

import math

import cc3d
import numpy as np
from scipy import ndimage

from kneeformer.geometry.aliases import Spacing
from kneeformer.labels import COMPLETE, FRAGMENTS, KEEP

_BLUR_MM = 1.5  # across an edge
_GAP_MM = 2.0  # half the width of the widest gap
_GAP_DEPTH = 0.35  # share of the way from its sides to soft tissue
_BESIDE_MM = 2.5  # distance from a fragment within which gaps are searched
_LEAST_MM3 = 100.0  # of soft tissue in one component: less is a hole in spongy bone
_SOFT = 0.75  # quantile of non-bone around bone: muscle rather than fat or air


def bone_in_region(ct: np.ndarray, mask: np.ndarray, spacing: Spacing) -> np.ndarray:
    """(z, y, x) bool: the bone to keep, and bone in the region that is connected to it.

    Without bone to keep, or without darker surroundings, none is found in the region.

    Args:
        ct: (z, y, x), in any unit.
        mask: (z, y, x), 1 bone to keep, 2 region to complete, from 3 on fragments.
        spacing: (z, y, x) mm.
    """
    kept, fragment = np.asarray(mask == KEEP), mask >= FRAGMENTS.start
    threshold = _threshold(ct[kept], ct[mask == 0])
    if threshold is None:
        return kept
    ct = ct.astype(np.float32)
    soft_ct = np.quantile(ct[(mask == 0) & (ct < threshold)], _SOFT)
    least = math.ceil(_LEAST_MM3 / math.prod(spacing))
    soft = cc3d.dust((ct < threshold) & ~fragment, least, connectivity=6) > 0
    edge = (soft_ct + ndimage.maximum_filter(ct, _box(_BLUR_MM, spacing))) / 2
    steps = math.ceil(_BLUR_MM / min(spacing))
    soft = ndimage.binary_dilation(soft, mask=soft | (ct < edge) & ~fragment, iterations=steps)
    sides = ndimage.grey_closing(ct, _box(_GAP_MM, spacing))
    beside = ndimage.distance_transform_edt(~fragment, spacing) < _BESIDE_MM
    gap = beside & (sides - ct > _GAP_DEPTH * (sides - soft_ct))
    components = cc3d.connected_components(kept | (mask == COMPLETE) & ~soft & ~gap, connectivity=6)
    return np.asarray(np.isin(components, np.unique(components[kept])))


def _threshold(bone: np.ndarray, around: np.ndarray) -> float | None:
    """The CT value that best separates bone from its surroundings; None if bone is not brighter.

    It is the value between their medians at which their distributions differ most (Kolmogorov and Smirnov).
    """
    if not (bone.size and around.size) or np.median(bone) <= np.median(around):
        return None
    values = np.linspace(np.median(around), np.median(bone), 200)
    below = [np.searchsorted(np.sort(part), values) / part.size for part in (around, bone)]
    apart = below[0] - below[1]
    return float(values[apart >= apart.max() - 1e-3].mean())


def _box(reach_mm: float, spacing: Spacing) -> list[int]:
    """Odd numbers of voxels that reach `reach_mm` from the middle one."""
    return [2 * round(reach_mm / mm) + 1 for mm in spacing]
