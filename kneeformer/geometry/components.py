"""Connected components of a mask."""

import cc3d
import numpy as np

_SMALL = 0.02  # parts smaller than this share of the largest are no bone


def without_small_components(mask: np.ndarray) -> np.ndarray:
    """A (z, y, x) bool mask without its smallest parts: what a segmentation leaves behind, not a fracture."""
    parts, count = cc3d.connected_components(mask, return_N=True)
    if count < 2:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray((sizes >= _SMALL * sizes.max())[parts])
