"""Faces of the fracture on bone in place, told from the places where a mask merely cuts it.

A region to complete is drawn generously: most of its border with the kept bone runs through intact bone. A
fragment belongs on a face, and would be drawn to such a cut as well. The CT tells them apart.
"""

import numpy as np
from scipy import ndimage

from kneeformer.geometry.aliases import Spacing
from kneeformer.labels import COMPLETE, KEEP

_REACH_MM = 3.0  # within which bone in the region says that the bone in place goes on
_LOWEST, _HIGHEST = 0.1, 0.75  # quantiles of bone and of what is around it: half-way is the threshold


def faces(ct: np.ndarray, mask: np.ndarray, in_place: np.ndarray, spacing: Spacing) -> np.ndarray:
    """(z, y, x) float32 in [0, 1], at the border of bone in place: 1 at a face, 0 where bone goes on.

    It is 0 where half of what is near, of region and fragments, is bone in the region. Without bone to keep,
    or anything around it, there is no face.

    Args:
        ct: (z, y, x), in any unit.
        mask: (z, y, x), 1 bone to keep, 2 region to complete, from 3 on fragments.
        in_place: (z, y, x) bool.
    """
    bone, around = ct[mask == KEEP], ct[mask == 0]
    if not (bone.size and around.size):
        return np.zeros(mask.shape, np.float32)
    threshold = (np.quantile(bone, _LOWEST) + np.quantile(around, _HIGHEST)) / 2
    reach = [_REACH_MM / mm for mm in spacing]
    region = (mask >= COMPLETE) & ~in_place
    goes_on, near = (
        ndimage.gaussian_filter(where.astype(np.float32), reach)
        for where in (region & (mask == COMPLETE) & (ct > threshold), region)
    )
    return np.asarray((1 - 2 * goes_on / np.maximum(near, 1e-3)).clip(0, 1), np.float32)
