"""Connected components of a mask: voxels that share a face, an edge or a corner."""

import cc3d
import numpy as np

_SMALL = 0.02  # parts smaller than this share of the largest are a segmentation's faults
_NOISE = 0.01  # share of a structure below which a component is noise of the annotation


def without_small_components(mask: np.ndarray) -> np.ndarray:
    """A (z, y, x) bool mask without its smallest parts: what a segmentation leaves behind, not a fracture."""
    components, sizes = _components(mask)
    return np.asarray((sizes >= _SMALL * sizes.max())[components]) if np.count_nonzero(sizes) > 1 else mask


def largest_components(mask: np.ndarray, number: int) -> np.ndarray:
    """A (z, y, x) bool mask with so many of its largest components, or all that it has."""
    components, sizes = _components(mask)
    if np.count_nonzero(sizes) <= number:
        return mask
    kept = np.zeros(len(sizes), bool)
    kept[np.argsort(-sizes, kind="stable")[:number]] = True
    return np.asarray(kept[components])


def count_components(mask: np.ndarray, share: float = _NOISE) -> int:
    """Number of components of a (z, y, x) bool mask that hold at least a share of its voxels: no noise."""
    _, sizes = _components(mask)
    return int(np.count_nonzero(sizes[sizes > 0] >= share * sizes.sum()))


def _components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number of the component of each voxel, from 1, and the voxels of each; of 0 none."""
    components = cc3d.connected_components(mask)
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    return components, sizes
