"""Connected components of a mask: voxels that share a face, an edge or a corner."""

import cc3d
import numpy as np

_SMALL = 0.02  # share of the largest component below which one is an error of a segmentation
_NOISE = 0.01  # share of a structure below which a component is noise of the annotation


def without_small_components(mask: np.ndarray) -> np.ndarray:
    """A (z, y, x) bool mask without components that are too small to be fragments of a fracture."""
    return small_components_apart(mask)[0]


def small_components_apart(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A mask as `without_small_components` gives it, and (n,) numbers of voxels of the small components."""
    components, sizes = _components(mask)
    small = sizes < _SMALL * sizes.max()
    small[0] = False  # the background
    return (mask & ~small[components] if small.any() else mask), sizes[small]


def components_reaching(mask: np.ndarray, where: np.ndarray) -> np.ndarray:
    """A (z, y, x) bool mask, of it the components that share a face, an edge or a corner with `where`."""
    components, sizes = _components(mask | where)
    reached = np.zeros(len(sizes), bool)
    reached[components[where]] = True
    return np.asarray(mask & reached[components])


def largest_components(mask: np.ndarray, number: int) -> np.ndarray:
    """A (z, y, x) bool mask with only its largest components, at most `number`."""
    components, sizes = _components(mask)
    if np.count_nonzero(sizes) <= number:
        return mask
    kept = np.zeros(len(sizes), bool)
    kept[np.argsort(-sizes, kind="stable")[:number]] = True
    return np.asarray(kept[components])


def count_components(mask: np.ndarray, share: float = _NOISE) -> int:
    """Number of components of a (z, y, x) bool mask with at least a share of its voxels; others are noise."""
    _, sizes = _components(mask)
    return int(np.count_nonzero(sizes[sizes > 0] >= share * sizes.sum()))


def _components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Component number of each voxel, from 1, and number of voxels by component, 0 for the background."""
    components = cc3d.connected_components(mask)
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    return components, sizes
