"""Hidden parts of a bone: as a surgeon would mask a fracture, and as training hides them."""

import numpy as np
from scipy import ndimage

from kneeformer.geometry.aliases import Spacing
from kneeformer.geometry.grid import Grid, points_from_middle
from kneeformer.geometry.long_axis import longest_axis
from kneeformer.labels import COMPLETE, KEEP


def hide(bone: np.ndarray, grid: Grid, rng: np.random.Generator, share: float = 0.2) -> np.ndarray:
    """A mask (z, y, x) uint8 of a healthy bone: 2 in a ball around a random voxel, 1 on the rest of the bone.

    Args:
        bone: (z, y, x) bool.
        share: share of the bone's voxels that the ball hides.
    """
    voxels = np.argwhere(bone)
    centre = voxels[rng.integers(len(voxels))]
    squared = np.zeros(bone.shape)
    for axis, (n, at, edge) in enumerate(zip(bone.shape, centre, grid.spacing, strict=True)):
        shape = [1, 1, 1]
        shape[axis] = n
        squared = squared + (((np.arange(n) - at) * edge) ** 2).reshape(shape)
    radius = np.quantile(squared[bone], share)
    return np.where(squared <= radius, COMPLETE, np.where(bone, KEEP, 0)).astype(np.uint8)


def end_of(bone: np.ndarray, grid: Grid, upper: bool, share: float = 0.2) -> np.ndarray:
    """(z, y, x) bool: everything beyond a plane that cuts off a share of a bone's length.

    Args:
        bone: (z, y, x) bool.
        upper: whether to cut the end with the larger coordinates along the axis.
    """
    z, y, x = bone.shape
    places = points_from_middle((z, y, x), grid.spacing)
    inside = places.reshape(3, -1)[:, bone.ravel()].T
    axis = longest_axis(inside)
    along, of_bone = np.tensordot(axis, places, 1), inside @ axis
    low, length = of_bone.min(), np.ptp(of_bone)
    cut = low + (1 - share if upper else share) * length
    return np.asarray(along > cut if upper else along < cut)


def draw_hidden(distance: np.ndarray, spacing: Spacing, rng: np.random.Generator) -> np.ndarray:
    """(z, y, x) bool: a random part of a bone to hide in training: blocks, a ball, a slab or one end.

    Args:
        distance: (z, y, x) signed distance of the bone in mm, negative inside.
    """
    z, y, x = distance.shape
    from_middle = points_from_middle((z, y, x), spacing)
    inside = np.flatnonzero(distance.ravel() < 0)
    if not len(inside):
        return np.zeros(distance.shape, bool)
    at = from_middle.reshape(3, -1)[:, rng.choice(inside)].reshape(3, 1, 1, 1)
    kind = _KINDS[rng.integers(len(_KINDS))]
    return np.asarray(kind(from_middle - at, rng))


def _blocks(away: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Up to six boxes, 10 to 20 mm wide, close to each other."""
    hidden = np.zeros(away.shape[1:], bool)
    for _ in range(rng.integers(1, 7)):
        centre, half = rng.uniform(-25, 25, 3), rng.uniform(5, 10, 3)
        hidden |= (np.abs(away - centre.reshape(3, 1, 1, 1)) < half.reshape(3, 1, 1, 1)).all(0)
    return hidden


def _ball(away: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    radii = rng.uniform(14, 30, 3).reshape(3, 1, 1, 1)
    return np.asarray(((away / radii) ** 2).sum(0) < 1)


def _slab(away: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(np.abs(_along(away, rng)) < rng.uniform(5, 15))


def _end(away: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One side of a plane, at most half of the grid."""
    along = _along(away, rng)
    return np.asarray(along > max(0.0, float(np.quantile(along, 0.5))))


def _along(away: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    normal = rng.standard_normal(3)
    return np.asarray(np.tensordot(normal / np.linalg.norm(normal), away, 1))


_KINDS = (_blocks, _ball, _slab, _end)


def known_beside(hidden: np.ndarray, distance: np.ndarray, spacing: Spacing) -> np.ndarray:
    """(z, y, x) bool: where the distance follows from the visible part, as `Bone.known`."""
    if not hidden.any():
        return np.ones(hidden.shape, bool)
    return np.asarray(np.abs(distance) <= ndimage.distance_transform_edt(~hidden, spacing))
